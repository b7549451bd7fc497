"""Jobs on disk: a folder each, with job.json, what was sent (inputs/) and what was made (outputs/).

job.json is what a job is, and is written by the server only: a job without one was never accepted.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio.to_thread
from upath import UPath

from avatar_pipeline.actors.files import sync_folder, unwritable, write_atomic
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.service.jobs.job import PREVIEW, Job
from avatar_pipeline.tasks.folder import read_result, write_inputs

UNDECLARED = (
    "consent: nothing was declared for the faces that were sent, so whoever runs this service "
    "answers for it. Send the field consent: "
    "true, or the header X-Consent: yes, when everybody shown has agreed."
)

log = logging.getLogger(__name__)


class JobStorage:
    """The jobs of one server. Its coroutines are called on the event loop; threads do the work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # one: the states of a job are written in their order
        self._writer = ThreadPoolExecutor(1, "avatar_pipeline jobs")

    async def load(self) -> list[Job]:
        """Return all jobs, oldest first; makes the folder where there is none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return await anyio.to_thread.run_sync(load_all, self.folder)

    async def accept(self, job: Job, files: Mapping[str, bytes], check: Callable[[], None]) -> None:
        """Put a new job on disk, with its inputs, then call `check`: the job is removed again when
        that raises. Raises StoreError too.
        """
        await anyio.to_thread.run_sync(accept, self.folder, job, files)
        await anyio.to_thread.run_sync(_checked, self.folder, job.id, check)

    async def save(self, job: Job) -> bool:
        """Write a job as it is now. Return whether that could be done; if not, the log says why."""
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._writer, save, self.folder, job.model_copy()
            )
        except (StoreError, RuntimeError) as error:  # RuntimeError: the server has stopped writing
            log.error("Job %s is not on disk as it is now (%s): %s", job.id, job.state, error)
            return False
        return True

    async def has(self, job: Job) -> bool:
        """Return whether a job is still there: a revocation removes those that show the person."""
        return await anyio.to_thread.run_sync((self.folder / job.id / "job.json").is_file)

    async def remove(self, job: Job) -> None:
        """Remove a job with its images."""
        await anyio.to_thread.run_sync(remove, self.folder, job.id)

    async def remove_preview(self, job: Job) -> None:
        """Remove what was shown while a job was at work."""
        await anyio.to_thread.run_sync(_unlink, self.folder / job.id / PREVIEW)

    async def remove_leftovers(self, known: Collection[str], seconds: float) -> None:
        """Remove folders without a job.json that have not changed for so long. known: ids of jobs,
        which stay.
        """
        await anyio.to_thread.run_sync(remove_leftovers, self.folder, set(known), seconds)

    def result(self, job: Job) -> dict[str, Any]:
        """Return what a completed job made. Reads a file; raises FileNotFoundError when it is
        gone.
        """
        return result(self.folder, job)

    async def close(self) -> None:
        """Finish writing; nothing is written afterwards."""
        await anyio.to_thread.run_sync(self._writer.shutdown)


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
    """Remove a job with its images."""
    shutil.rmtree(folder / job_id, ignore_errors=True)


def load_all(folder: Path) -> list[Job]:
    """Return all jobs on disk, oldest first. What is not a whole job is named in the log and left
    as it is.
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
                "%s has no job.json: a request that was never accepted, or half removed. "
                "It is left there.",
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
    """Remove folders without a job.json that have not changed for so long. known: ids of jobs,
    which stay.
    """
    for own in folder.iterdir():
        if (
            own.name not in known
            and not (own / "job.json").exists()
            and own.stat().st_mtime < time.time() - seconds
        ):
            remove(folder, own.name)


def result(folder: Path, job: Job) -> dict[str, Any]:
    """Return what a completed job made: facts, seeds, made_from, warnings. Raises FileNotFoundError
    when that is gone.
    """
    found = read_result(folder / job.id)
    if job.consent is not None and job.consent.by == "operator":
        found["warnings"].append(UNDECLARED)
    return found


def _checked(folder: Path, job_id: str, check: Callable[[], None]) -> None:
    try:
        check()
    except BaseException:
        remove(folder, job_id)
        raise


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
