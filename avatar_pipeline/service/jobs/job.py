"""A job: one accepted request, kept as a folder until it expires. job.json is written by the server
only.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from upath import UPath

from avatar_pipeline.actors.files import sync_folder, unwritable, write_atomic
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.service.errors import ServiceError
from avatar_pipeline.tasks.folder import read_result, write_inputs

State = Literal["queued", "running", "completed", "failed", "cancelled"]
FINISHED: tuple[State, ...] = ("completed", "failed", "cancelled")
MENDED = (
    # seconds until it makes sense to ask again for what its operator has to mend: a missing model,
    # a folder that is away
    300
)
UNDECLARED = (
    "consent: nothing was declared for the faces that were sent, so whoever runs this service "
    "answers for it. Send the field consent: true, or the header X-Consent: yes, when everybody "
    "shown has agreed."
)
PREVIEW = "preview.jpg"  # in a job's folder while it draws: written by the worker

log = logging.getLogger(__name__)


def now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


class Fault(BaseModel):
    """Why a job failed.

    code: for programs. message: in words. field: of the request, where one is at fault. status: of
    HTTP, for whoever waited for the job.
    """

    code: str
    message: str
    field: str | None = None
    status: int = 422

    def error(self) -> ServiceError:
        """The fault as what a request that waited for the job ends with."""
        retry_after = MENDED if self.status == 503 else None
        return ServiceError(
            self.message,
            code=self.code,
            field=self.field,
            status=self.status,
            retry_after=retry_after,
        )


class Delivery(BaseModel):
    """Telling a client's address that its job is finished. attempts: made so far. problem: why the
    last one failed.
    """

    url: str
    state: Literal["pending", "delivered", "failed"] = "pending"
    attempts: int = 0
    problem: str | None = None


class Declaration(BaseModel):
    """How the consent of the people whose faces a request sent was declared, and when; by the token
    of the job's owner.

    by: operator when nothing was declared and the service's policy let it pass. text: who agreed,
    in the client's words. It names people,
    so it lies here only: it is told nowhere, and goes with the job.
    """

    by: Literal["field", "header", "field and header", "operator"]
    at: datetime
    text: str | None = None


class Job(BaseModel):
    """id: also that of its first Dagster run; runs: all of them, more than one when the server or
    the worker was killed.

    kind: the dialect that was spoken, such as "generate"; task, params: what the worker does.
    owner: name of the token that asked.
    base_url: under which the service was asked. awaited: a request waits for the answer, and nobody
    else asked to keep the job.
    deaths: how many workers died of it. share: how much is done, 0 to 1; doing: in words. previews:
    how many there have been.
    cancelling: somebody asked for its end. consent: None when no face was sent. sha256: of the
    files that were sent, as they came, by name. people: the actors, real people, whom those files
    show; an actor whom `params` names is not among them.
    """

    id: str
    kind: str = ""
    task: str
    params: dict[str, Any]
    owner: str = ""
    base_url: str = ""
    awaited: bool = False
    state: State = "queued"
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    runs: list[str] = []
    deaths: int = 0
    share: float = 0.0
    doing: str = ""
    previews: int = 0
    cancelling: bool = False
    fault: Fault | None = None
    webhook: Delivery | None = None
    idempotency_key: str | None = None
    payload_sha256: str | None = None
    consent: Declaration | None = None
    sha256: dict[str, str] = {}
    people: list[str] = []

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in FINISHED

    @property
    def consent_kept(self) -> dict[str, str]:
        """What its run keeps of the declaration: not the text, which names people, as Dagster's
        record outlives the job.
        """
        if self.consent is None:
            return {}
        return {
            "declared": self.consent.by,
            "at": self.consent.at.isoformat(),
            **({"token": self.owner} if self.owner else {}),
        }


def save(folder: Path, job: Job) -> None:
    """Write job.json, whole or not at all. Raises StoreError, also when the job was removed, as a
    revocation does.
    """
    if not (folder / job.id).is_dir():
        raise StoreError(f"{folder / job.id} has been removed.")
    write_atomic(UPath(folder / job.id / "job.json"), job.model_dump_json(indent=1).encode())


def accept(folder: Path, job: Job, files: Mapping[str, bytes]) -> None:
    """Put a new job on disk: its inputs first, job.json last. Nothing is left there when that
    fails. Raises StoreError.
    """
    own = folder / job.id
    try:
        own.mkdir()
        write_inputs(own, dict(files))
        save(folder, job)
        sync_folder(UPath(own))
        sync_folder(UPath(folder))
    except OSError as error:
        remove(folder, job.id)
        raise unwritable(own, error) from error
    except BaseException:
        remove(folder, job.id)
        raise


def remove(folder: Path, job_id: str) -> None:
    """Remove a job with its pictures."""
    shutil.rmtree(folder / job_id, ignore_errors=True)


def remove_preview(folder: Path, job_id: str) -> None:
    """Remove what was shown while a job was drawing."""
    (folder / job_id / PREVIEW).unlink(missing_ok=True)


def load_all(folder: Path) -> list[Job]:
    """All jobs on disk, oldest first. What is not a whole job is told in the log and left as it
    is.
    """
    found = []
    for own in sorted(folder.iterdir()):
        try:
            job = Job.model_validate_json((own / "job.json").read_bytes())
            if job.id != own.name:
                raise ValueError(f"it says that its id is {job.id}")
            found.append(job)
        except FileNotFoundError:
            log.warning(
                "%s has no job.json: a request that was never accepted, or half removed. It is "
                "left there.",
                own,
            )
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            log.error(
                "%s is not a job that can be read, and is left as it is: %s",
                own / "job.json",
                reason,
            )
    return sorted(found, key=lambda job: job.created)


def remove_leftovers(folder: Path, known: set[str], seconds: float) -> None:
    """Remove folders without a job.json that have not changed for so long."""
    for own in folder.iterdir():
        if (
            own.name not in known
            and not (own / "job.json").exists()
            and own.stat().st_mtime < time.time() - seconds
        ):
            remove(folder, own.name)


def result(folder: Path, job: Job) -> dict[str, Any]:
    """What a completed job made: facts, seeds, made_from, warnings. Raises FileNotFoundError when
    that is gone.
    """
    found = read_result(folder / job.id)
    if job.consent is not None and job.consent.by == "operator":
        found["warnings"].append(UNDECLARED)
    return found
