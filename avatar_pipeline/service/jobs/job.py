"""A job: one accepted request, kept as a folder until it expires. job.json is written by the server
only.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel

from avatar_pipeline.service.errors import ServiceError

State = Literal["queued", "running", "completed", "failed", "cancelled"]
FINISHED: tuple[State, ...] = ("completed", "failed", "cancelled")
# Every change of a job's state there is. A job goes back to the queue, or stays there, when the
# worker or the server ended before the job did; it fails there when that was once too often.
LEGAL_MOVES: dict[State, tuple[State, ...]] = {
    "queued": ("queued", "running", "failed", "cancelled"),
    "running": ("queued", *FINISHED),
    "completed": (),
    "failed": (),
    "cancelled": (),
}
# seconds until it makes sense to ask again for what the operator has to fix: a missing model, a
# folder that is away
RETRY_AFTER_FAULT = 300
PREVIEW = "preview.jpg"  # in a job's folder while it draws: written by the worker


def now() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)


class IllegalTransitionError(Exception):
    """A job was to change its state in a way that LEGAL_MOVES does not name: a bug."""


class Fault(BaseModel):
    """Why a job failed.

    code: for programs. message: in words. field: of the request, where one is at fault. status: of
    HTTP, for a request that waited for the job.
    """

    code: str
    message: str
    field: str | None = None
    status: int = 422

    def error(self) -> ServiceError:
        """Return what a request that waited for the job ends with."""
        retry_after = RETRY_AFTER_FAULT if self.status == 503 else None
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
    so it is kept here only: no answer has it, and it goes with the job.
    """

    by: Literal["field", "header", "field and header", "operator"]
    at: datetime
    text: str | None = None


class Job(BaseModel):
    """id: also that of its first Dagster run; runs: all of them, more than one when the server or
    the worker was killed.

    kind: the dialect that was spoken, such as "generate"; task, params: what the worker does.
    owner: name of the token that asked.
    base_url: under which the service was asked. awaited: a request waits for the answer, and no
    client asked to keep the job.
    deaths: how many workers died of it. share: how much is done, 0 to 1; doing: in words. previews:
    how many there have been.
    cancelling: its end was asked for. consent: None when no face was sent. sha256: of the
    files that were sent, as they came, by name. people: the actors, real people, whom those files
    show; an actor whom `params` names is not among them. warnings: about the request, such as
    fields that its call does not have.
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
    warnings: list[str] = []

    @property
    def is_finished(self) -> bool:
        """Return whether nothing more will happen to it."""
        return self.state in FINISHED

    def transition(self, to: State, *, doing: str = "", fault: Fault | None = None) -> None:
        """Change the state, and what follows from it. fault: why the job failed.

        Raises IllegalTransitionError for a change that LEGAL_MOVES does not name.
        """
        if to not in LEGAL_MOVES[self.state]:
            raise IllegalTransitionError(f"Job {self.id} is {self.state} and cannot become {to}.")
        self.state, self.doing = to, doing
        if to in ("queued", "running"):
            self.share = 0.0
        if to == "running":
            self.started = now()
        if to == "completed":
            self.share = 1.0
        if to in FINISHED:
            self.finished, self.fault = now(), fault

    @property
    def consent_kept(self) -> dict[str, str]:
        """Return what its run keeps of the declaration: not the text, which names people, as
        Dagster's record outlives the job.
        """
        if self.consent is None:
            return {}
        return {
            "declared": self.consent.by,
            "at": self.consent.at.isoformat(),
            **({"token": self.owner} if self.owner else {}),
        }
