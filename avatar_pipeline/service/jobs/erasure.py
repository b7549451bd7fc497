"""The service's jobs of one actor: found on disk, waited for where a server does one, and removed
with their pictures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from upath import UPath

from avatar_pipeline.actors.consent.receipt import SERVICE_JOB
from avatar_pipeline.core.digests import sha256_file
from avatar_pipeline.revocation.holders import DataHolder, Found, Log, Outcome, Subject
from avatar_pipeline.service.jobs import storage as jobs
from avatar_pipeline.service.jobs.job import Job
from avatar_pipeline.tasks.folder import read_result

LOCK = "server.lock"  # in the service's folder; a running server holds it
POLL_INTERVAL_S = 0.5


class ServiceJobs(DataHolder):
    """The jobs in a service's folder. Whether a server works on it or not.

    They are waited for where they are claimed, and not where everything is stopped: a server ends
    its jobs by itself once consent is revoked, and only then the digests are known by which all of
    them are found.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _jobs_of(self, subject: Subject) -> list[Job]:
        """Return the jobs under any of the person's names, each once."""
        return list(
            {
                job.id: job
                for name in subject.names
                for job in jobs_of(self.folder, name, subject.digests)
            }.values()
        )

    def find(self, subject: Subject) -> Found:
        """Return which jobs go."""
        ids = [job.id for job in self._jobs_of(subject)]
        return Found(jobs=ids, counts={"jobs of the service": str(len(ids))})

    @contextmanager
    def claim(self, subject: Subject, timeout_s: float, log: Log) -> Iterator[Found]:
        """Return the jobs with their files and runs, once no server is doing them any more."""
        found = Found(jobs=list(subject.jobs))
        about = self._jobs_of(subject)
        still = wait_for(self.folder, about, log, timeout_s)
        for job in about:
            if job.id in still:
                found.unresolved[f"job {job.id}"] = "a server is still doing it: run it again"
                continue
            for path in sorted((self.folder / "jobs" / job.id).rglob("*")):
                if path.is_file():
                    found.add(UPath(path), SERVICE_JOB)
            found.jobs.append(job.id)
            found.runs += job.runs
        for left in unreadable_jobs(self.folder):
            found.unresolved[str(left)] = (
                "no job that can be read: look at it, and delete it yourself if it shows the person"
            )
        yield found

    def delete(self, subject: Subject, found: Found, log: Log) -> Outcome:
        """Remove the jobs with their pictures."""
        outcome = Outcome()
        for job_id in found.jobs:
            jobs.remove(self.folder / "jobs", job_id)
            if (left := self.folder / "jobs" / job_id).exists():
                outcome.not_deleted[f"job {job_id}"] = f"{left} could not be removed"
        if count := len(set(found.jobs) - set(subject.jobs)):
            log(f"{count} jobs of the service are deleted")
        return outcome


def jobs_of(folder: Path, actor: str, digests: Collection[str]) -> list[Job]:
    """Return the jobs that show an actor or were made from something of the actor's, in any
    generation, oldest first.

    folder: of the service. digests: of the actor's files and versions. A job counts that names the
    actor, was given or made from one of these, or from what a job made that counts.
    """
    own = folder / "jobs"
    left = jobs.load_all(own) if own.is_dir() else []
    known = set(digests)
    found: list[Job] = []
    while more := {job.id: job for job in left if _is_about(own / job.id, job, actor, known)}:
        found += more.values()
        left = [job for job in left if job.id not in more]
        known |= {
            digest
            for job in more.values()
            if _shows(own / job.id, job, actor, known)
            for digest in _outputs(own / job.id)
        }
    return sorted(found, key=lambda job: job.created)


def wait_for(
    folder: Path, found: Collection[Job], log: Callable[[str], None], timeout_s: float
) -> list[str]:
    """Wait until a server has ended those of the jobs that it is doing, as it does once consent is
    revoked; the ids of what did not end.
    """
    end = time.monotonic() + timeout_s
    is_logged = False
    while (running := _running(folder, found)) and time.monotonic() < end:
        if not is_logged:
            log(f"waits for {len(running)} jobs of the service, which it ends at their next step")
            is_logged = True
        time.sleep(POLL_INTERVAL_S)
    return [job.id for job in running]


def _running(folder: Path, found: Collection[Job]) -> list[Job]:
    if not found or not _is_served(folder):
        return []
    running = []
    for job in found:
        try:
            now = Job.model_validate_json((folder / "jobs" / job.id / "job.json").read_bytes())
        except (OSError, ValueError):
            continue
        if now.state == "running":
            running.append(now)
    return running


def _is_served(folder: Path) -> bool:
    """Return whether a server works on the folder."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _is_about(own: Path, job: Job, actor: str, digests: set[str]) -> bool:
    return (
        job.params.get("actor") == actor
        or _result(own).get("actor") == actor
        or _shows(own, job, actor, digests)
    )


def _shows(own: Path, job: Job, actor: str, digests: set[str]) -> bool:
    """Return whether a job was given or made pictures of the actor: not one that named the actor
    and drew by the description alone.
    """
    result = _result(own)
    given = {*job.sha256.values(), *(result.get("made_from") or {}).values()}
    return actor in job.people or actor in result.get("people", ()) or not digests.isdisjoint(given)


def _result(own: Path) -> dict[str, Any]:
    """Return what a job made, nothing where that cannot be read."""
    try:
        return read_result(own)
    except (OSError, ValueError):
        return {}


def _outputs(own: Path) -> set[str]:
    """Return the sha256 of what a job made. A server removes jobs that have expired meanwhile."""
    with suppress(FileNotFoundError):
        return {sha256_file(path) for path in (own / "outputs").iterdir()}
    return set()


def unreadable_jobs(folder: Path) -> list[Path]:
    """Return folders of jobs that cannot be read: whom they show is not known. folder: of the
    service.
    """
    own = folder / "jobs"
    known = {job.id for job in jobs.load_all(own)} if own.is_dir() else set()
    return (
        [path for path in sorted(own.iterdir()) if path.name not in known] if own.is_dir() else []
    )
