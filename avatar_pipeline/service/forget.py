"""The service's jobs of one actor: found on disk, waited for where a server does one, and removed with their pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path

from filelock import FileLock, Timeout

from avatar_pipeline.service import job as jobs
from avatar_pipeline.service.job import Job
from avatar_pipeline.tasks.folder import read_result

LOCK = "server.lock"  # in the service's folder; a running server holds it
POLL = 0.5


def jobs_of(folder: Path, actor: str, digests: Collection[str]) -> list[Job]:
    """The jobs that name the actor, show it, or were made from something of its: a file's sha256, or an asset's digest, is in `digests`.

    folder: of the service.
    """
    own = folder / "jobs"
    return [job for job in jobs.load_all(own) if _is_about(own / job.id, job, actor, digests)] if own.is_dir() else []


def wait_for(folder: Path, found: Collection[Job], log: Callable[[str], None], patience: float) -> list[str]:
    """Wait until a server has ended those of the jobs that it is doing, as it does once consent is revoked; the ids of what did not end."""
    end = time.monotonic() + patience
    told = False
    while (running := _running(folder, found)) and time.monotonic() < end:
        if not told:
            log(f"waits for {len(running)} jobs of the service, which it ends at their next step")
            told = True
        time.sleep(POLL)
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
    """Whether a server works on the folder."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _is_about(own: Path, job: Job, actor: str, digests: Collection[str]) -> bool:
    if job.params.get("actor") == actor:
        return True
    try:
        result = read_result(own)
    except (OSError, ValueError):
        return False
    return result.get("actor") == actor or not set((result.get("made_from") or {}).values()).isdisjoint(digests)
