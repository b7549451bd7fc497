"""Which Idempotency-Key stands for which job."""

from __future__ import annotations

from datetime import datetime, timedelta

from avatar_pipeline.service.errors import Conflict
from avatar_pipeline.service.jobs.job import Job, now

Key = tuple[str, str]  # owner, key


class IdempotencyKeys:
    """Which key stands for which job. A request that is being accepted holds its key, without a job
    yet.
    """

    def __init__(self, hours: float) -> None:
        self.lifetime = timedelta(hours=hours)
        self._jobs: dict[Key, Job] = {}
        self._held: set[Key] = set()

    def remember(self, job: Job) -> None:
        """Take note of a job that came with a key."""
        if job.idempotency_key is not None and now() < self.expires(job):
            self._jobs[job.owner, job.idempotency_key] = job
            self.release((job.owner, job.idempotency_key))

    def forget(self, job: Job) -> None:
        """Free the key of a job that is removed."""
        if (
            job.idempotency_key is not None
            and self._jobs.get((job.owner, job.idempotency_key)) is job
        ):
            del self._jobs[job.owner, job.idempotency_key]

    def expires(self, job: Job | None = None) -> datetime:
        """Return when the key of a job, or of one that is accepted now, becomes unused again."""
        return (job.created if job else now()) + self.lifetime

    def expire(self) -> None:
        """Forget the keys whose time is over."""
        for job in [job for job in self._jobs.values() if now() >= self.expires(job)]:
            self.forget(job)

    def find(self, key: Key) -> Job | None:
        """Return the job that a key stands for. Raises Conflict while its first request is being
        accepted.
        """
        if key in self._held:
            raise in_progress()
        job = self._jobs.get(key)
        return job if job is not None and now() < self.expires(job) else None

    def hold(self, key: Key) -> None:
        """Keep others from using a key while its first request is being accepted."""
        self._held.add(key)

    def release(self, key: Key) -> None:
        """Free a key whose request has been accepted, or refused."""
        self._held.discard(key)


def in_progress(more: str = "", seconds: int = 1) -> Conflict:
    """Return the answer to a request whose first is not answered yet."""
    return Conflict(
        "The first request with this Idempotency-Key is still being answered. Ask again "
        f"later.{more}",
        code="request_in_progress",
        retry_after=seconds,
    )
