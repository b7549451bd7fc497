"""The queue: accepted jobs in their order, one worker, everything on disk before it is accepted.

What is where: job.json is what a job is; this object keeps the same in memory, for at most
`queue_limit` waiting, a few running and `jobs_kept` finished jobs. All methods are called on the
event loop; files are written by threads.
"""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread
from pydantic import BaseModel

from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.core.os_errors import is_full
from avatar_pipeline.service.errors import NotFound, Unavailable, storage_error
from avatar_pipeline.service.field_names import shown_name
from avatar_pipeline.service.jobs.background import BackgroundTasks
from avatar_pipeline.service.jobs.dispatcher import Dispatcher
from avatar_pipeline.service.jobs.idempotency_keys import IdempotencyKeys
from avatar_pipeline.service.jobs.job import Delivery, Fault, Job, now
from avatar_pipeline.service.jobs.listeners import Listeners
from avatar_pipeline.service.jobs.storage import JobStorage
from avatar_pipeline.service.settings import Settings

# Of one job: more mean that it takes the whole machine down with it each time, server included.
MAX_RUNS = 5
RESTART_S = 15  # seconds after which a client may ask a server again that stops
EXPIRY_INTERVAL_S = 600.0  # seconds between two searches for jobs that have expired, at most
# seconds after which a folder without a job.json is no request that is being accepted
LEFTOVER_AGE_S = 3600.0

log = logging.getLogger(__name__)


class JobQueue:
    """Started and stopped by the app's lifespan.

    deliver_webhook: is called with each job that has ended and has a webhook.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.jobs: dict[str, Job] = {}
        self.keys = IdempotencyKeys(settings.idempotency_hours)
        self.storage = JobStorage(settings.folder / "jobs")
        self.listeners = Listeners()
        self.deliver_webhook: Callable[[Job], Awaitable[None]] | None = None
        self._background = BackgroundTasks()
        self._dispatcher = Dispatcher(
            settings,
            self.storage,
            self.listeners,
            self._background,
            on_finished=self._on_finished,
            on_removed=self._forget,
        )
        self.wait_estimator = self._dispatcher.wait_estimator
        self._accepting = 0

    @property
    def folder(self) -> Path:
        """Return the folder of all jobs."""
        return self.storage.folder

    @property
    def waiting(self) -> list[Job]:
        """Return the waiting jobs, the next one first."""
        return self._dispatcher.waiting

    @property
    def stopping(self) -> bool:
        """Return whether the server is about to stop."""
        return self._dispatcher.stopping

    async def start(self) -> None:
        """Start the worker, and queue again what an earlier server had accepted and not
        finished.
        """
        self._dispatcher.worker.start()
        for job in await self.storage.load():
            self.jobs[job.id] = job
            self.keys.remember(job)
            self._take_over(job)
        if self.waiting:
            log.warning("%d jobs of the server before are done now.", len(self.waiting))
        self._background.start(self._expire())
        self._dispatcher.start_next()

    def begin_stop(self) -> None:
        """Accept nothing any more, and answer everyone who waits: the server is about to stop."""
        self._dispatcher.stopping = True
        self.listeners.notify_all()

    async def stop(self) -> None:
        """End the worker; what it was doing is done again after the next start."""
        self.begin_stop()
        await anyio.to_thread.run_sync(self._dispatcher.worker.stop)
        self._background.cancel()
        await self.storage.close()

    async def submit(
        self,
        task: str,
        params: BaseModel,
        files: Mapping[str, bytes] | None = None,
        *,
        webhook: str | None = None,
        check: Callable[[], None] = lambda: None,
        **facts: Any,
    ) -> Job:
        """Accept a job: it is on disk when this returns. files: inputs by file name (image.png).
        facts: further fields of Job.

        check: is called once the job is on disk, and has it removed when it raises: a revocation
        finds the job, or the check finds it.

        Raises Unavailable when the queue is full, when a job that is `awaited` would begin too
        late, and when the server stops; ServiceError when the disk is full.
        """
        self._require_room(awaited=bool(facts.get("awaited")))
        job = Job(
            id=str(uuid.uuid4()),
            task=task,
            params=params.model_dump(mode="json", exclude_none=True),
            webhook=Delivery(url=webhook) if webhook else None,
            created=now(),
            **facts,
        )
        self._accepting += 1
        try:
            await self.storage.accept(job, files or {}, check)
        except StoreError as error:
            log.error("A job was not accepted: %s", error)
            raise storage_error(is_full(error)) from error
        finally:
            self._accepting -= 1
        self.jobs[job.id] = job
        self.keys.remember(job)
        self._dispatcher.enqueue(job)
        self._dispatcher.start_next()
        return job

    def get(self, job_id: str) -> Job:
        """Return a job. Raises NotFound for an unknown id."""
        if job_id not in self.jobs:
            raise NotFound(
                f"There is no job {shown_name(job_id)}. Finished jobs are kept for "
                f"{self.settings.job_days:g} days."
            )
        return self.jobs[job_id]

    async def wait(self, job_id: str, seconds: float) -> Job:
        """Return the job, finished or after `seconds`, whichever comes first. Raises Unavailable
        when the server stops.
        """
        job = self.get(job_id)
        try:
            async with asyncio.timeout(seconds):
                while not job.is_finished and not self.stopping:
                    await self.listeners.wait(job_id)
        except TimeoutError:
            return job
        if not job.is_finished:
            raise stopping_error(f"Job {job_id} goes on after the next start.")
        return job

    async def cancel(self, job_id: str) -> Job:
        """Take a waiting job out of the queue at once, or have the worker stop after its present
        step.
        """
        job = self.get(job_id)
        await self._dispatcher.cancel(job)
        return job

    def position(self, job: Job) -> int:
        """Return 1 for the job that is next; 0 when it runs or is finished."""
        return self._dispatcher.position(job)

    def seconds_left(self, job: Job) -> int:
        """Estimate the time until a job is done; at least a second."""
        return self.wait_estimator.until_done(self.position(job) + len(self._dispatcher.running))

    def _require_room(self, awaited: bool) -> None:
        """Raise Unavailable when a job cannot be accepted now. awaited: whether a request waits for
        it.
        """
        if self.stopping:
            raise stopping_error()
        if len(self.waiting) + self._accepting >= self.settings.queue_limit:
            raise Unavailable(
                f"{self.settings.queue_limit} jobs are waiting, which is the most. Nothing was "
                "accepted; ask again later.",
                retry_after=self.wait_estimator.until_room(),
            )
        ahead = len(self.waiting) + self._accepting + len(self._dispatcher.running)
        wait = ahead * self.wait_estimator.seconds_per_job
        if awaited and wait > self.settings.wait_seconds:
            raise Unavailable(
                f"{ahead} jobs come first, about {wait:.0f} seconds: longer than a request is "
                "kept waiting. Nothing was accepted; ask "
                "again later, or with the header Prefer: respond-async.",
                retry_after=max(
                    self.wait_estimator.until_room(), math.ceil(wait - self.settings.wait_seconds)
                ),
            )

    def _take_over(self, job: Job) -> None:
        """Go on with a job of the server before."""
        if job.is_finished:
            self._on_finished(job)
        elif job.cancelling:
            self._background.start(self._dispatcher.finish(job, "cancelled"))
        elif len(job.runs) >= MAX_RUNS:
            message = (
                f"It was begun {MAX_RUNS} times, and each time the service was killed. It is "
                "not tried again."
            )
            fault = Fault(code="worker_died", message=message, status=500)
            self._background.start(self._dispatcher.finish(job, "failed", fault))
        else:
            job.transition("queued")
            self._dispatcher.enqueue(job)

    def _on_finished(self, job: Job) -> None:
        """Send a job's webhook its end, unless that has been done."""
        if (
            job.webhook is not None
            and job.webhook.state == "pending"
            and self.deliver_webhook is not None
        ):
            self._background.start(self.deliver_webhook(job))

    async def _expire(self) -> None:
        """Remove finished jobs, with their images, that are too old or too many, every now and
        then. Their Dagster runs stay.
        """
        seconds = self.settings.job_days * 86400
        while True:
            finished = sorted(
                (job for job in self.jobs.values() if job.finished),
                key=lambda job: str(job.finished),
            )
            for number, job in enumerate(finished, 1):
                age = (now() - job.finished).total_seconds() if job.finished else 0.0
                if age > seconds or len(finished) - number >= self.settings.jobs_kept:
                    self._forget(job)
                    await self.storage.remove(job)
            self.keys.expire()
            await self.storage.remove_leftovers(self.jobs, max(seconds, LEFTOVER_AGE_S))
            await asyncio.sleep(min(max(seconds / 20, 0.5), EXPIRY_INTERVAL_S))

    def _forget(self, job: Job) -> None:
        """Take a job that is removed out of memory."""
        self.jobs.pop(job.id)
        self.keys.forget(job)
        self.listeners.notify(job.id)


def stopping_error(more: str = "Nothing was accepted.") -> Unavailable:
    """Return the answer of a server that is about to stop."""
    return Unavailable(
        f"This server is stopping. {more} Ask again in a moment.",
        code="stopping",
        retry_after=RESTART_S,
    )
