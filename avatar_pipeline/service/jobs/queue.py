"""The queue: accepted jobs in their order, one worker, everything on disk before it is accepted.

What is where: job.json is what a job is; this object keeps the same in memory, for at most
`queue_limit` waiting, one running and `jobs_kept` finished jobs. All methods are called on the
event loop; files are written by threads.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
import math
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio.to_thread
from pydantic import BaseModel

from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.core.os_errors import is_full
from avatar_pipeline.service.errors import NotFound, Unavailable, storage_error
from avatar_pipeline.service.jobs import job as jobs
from avatar_pipeline.service.jobs.expiry import expire_jobs
from avatar_pipeline.service.jobs.idempotency import Keys
from avatar_pipeline.service.jobs.job import Delivery, Fault, Job, State
from avatar_pipeline.service.jobs.supervisor import Supervisor
from avatar_pipeline.service.jobs.wait_estimate import Pace
from avatar_pipeline.service.settings import Settings

# Of one job: more mean that it takes the whole machine down with it each time, server included.
RUNS_MOST = 5
RESTARTS = 15  # seconds after which a client may ask a server again that stops

log = logging.getLogger(__name__)


class JobQueue:
    """Started and stopped by the app's lifespan.

    on_finished: is called with each job that has ended and has a webhook.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder: Path = settings.folder / "jobs"
        self.jobs: dict[str, Job] = {}
        self.waiting: list[str] = []
        self.running: str | None = None
        self.stopping = False
        self.keys = Keys(settings.idempotency_hours)
        self.pace = Pace()
        self.worker = Supervisor(settings, self._hear, self._died)
        self.on_finished: Callable[[Job], Awaitable[None]] | None = None
        self._accepting = 0
        self._changed: dict[str, asyncio.Event] = {}
        # one: the states of a job are written in their order
        self._writer = ThreadPoolExecutor(1, "avatar_pipeline jobs")
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the worker, and queue again what an earlier server had accepted and not
        finished.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.worker.start()
        for job in await anyio.to_thread.run_sync(jobs.load_all, self.folder):
            self.jobs[job.id] = job
            self.keys.remember(job)
            if job.is_finished:
                self._told(job)
            elif job.cancelling:
                self._spawn(self._finish(job, "cancelled"))
            elif len(job.runs) >= RUNS_MOST:
                words = (
                    f"It was begun {RUNS_MOST} times, and each time the service was killed. It is "
                    "not tried again."
                )
                self._spawn(
                    self._finish(
                        job, "failed", Fault(code="worker_died", message=words, status=500)
                    )
                )
            else:
                job.state, job.share, job.doing = "queued", 0.0, ""
                self._enqueue(job)
        if self.waiting:
            log.warning("%d jobs of the server before are done now.", len(self.waiting))
        self._spawn(expire_jobs(self))
        self._next()

    def refuse(self) -> None:
        """Accept nothing any more, and let everybody go who waits: the server is about to stop."""
        self.stopping = True
        for job_id in list(self._changed):
            self._changed.pop(job_id).set()

    async def stop(self) -> None:
        """End the worker; what it was doing is done again after the next start."""
        self.refuse()
        await anyio.to_thread.run_sync(self.worker.stop)
        for task in self._tasks:
            task.cancel()
        await anyio.to_thread.run_sync(self._writer.shutdown)

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
        if self.stopping:
            raise stopping()
        if len(self.waiting) + self._accepting >= self.settings.queue_limit:
            raise Unavailable(
                f"{self.settings.queue_limit} jobs are waiting, which is the most. Nothing was "
                "accepted; ask again later.",
                retry_after=self.pace.until_room(),
            )
        ahead = len(self.waiting) + self._accepting + (self.running is not None)
        if (
            facts.get("awaited")
            and (wait := ahead * self.pace.seconds) > self.settings.wait_seconds
        ):
            raise Unavailable(
                f"{ahead} jobs come first, about {wait:.0f} seconds: longer than a request is "
                "kept waiting. Nothing was accepted; ask again later, or with the header Prefer: "
                "respond-async.",
                retry_after=max(
                    self.pace.until_room(), math.ceil(wait - self.settings.wait_seconds)
                ),
            )
        job = Job(
            id=str(uuid.uuid4()),
            task=task,
            params=params.model_dump(mode="json", exclude_none=True),
            webhook=Delivery(url=webhook) if webhook else None,
            created=jobs.now(),
            **facts,
        )
        self._accepting += 1
        try:
            await anyio.to_thread.run_sync(jobs.accept, self.folder, job, files or {})
            await anyio.to_thread.run_sync(_checked, self.folder, job.id, check)
        except StoreError as error:
            log.error("A job was not accepted: %s", error)
            raise storage_error(is_full(error)) from error
        finally:
            self._accepting -= 1
        self.jobs[job.id] = job
        self.keys.remember(job)
        self._enqueue(job)
        self._next()
        return job

    def get(self, job_id: str) -> Job:
        """Raises NotFound for an unknown id."""
        if job_id not in self.jobs:
            raise NotFound(
                f"There is no job {job_id}. Finished jobs are kept for "
                f"{self.settings.job_days:g} days."
            )
        return self.jobs[job_id]

    async def change(self, job_id: str) -> None:
        """Wait until a job has changed. Whoever looks at the job and then calls this, without
        waiting between, misses nothing.
        """
        await self._changed.setdefault(job_id, asyncio.Event()).wait()

    async def wait(self, job_id: str, seconds: float) -> Job:
        """The job, finished or after `seconds`, whichever comes first. Raises Unavailable when the
        server stops.
        """
        job = self.get(job_id)
        try:
            async with asyncio.timeout(seconds):
                while not job.is_finished and not self.stopping:
                    await self.change(job_id)
        except TimeoutError:
            return job
        if not job.is_finished:
            raise stopping(f"Job {job_id} goes on after the next start.")
        return job

    async def cancel(self, job_id: str) -> Job:
        """Take a waiting job out of the queue at once, or have the worker stop after its present
        step.
        """
        job = self.get(job_id)
        if job_id in self.waiting:
            self.waiting.remove(job_id)
            await self._finish(job, "cancelled")
            self._tell_waiting()
        elif job_id == self.running and not job.cancelling:
            job.cancelling = True
            job.doing = "stopping after the present step"
            self.worker.send({"cancel": job_id})
            await self.save(job)
            self._tell(job)
        return job

    def position(self, job_id: str) -> int:
        """1 for the job that is next; 0 when it runs or is finished."""
        return self.waiting.index(job_id) + 1 if job_id in self.waiting else 0

    def seconds_left(self, job: Job) -> int:
        """An estimate of the time until a job is done; at least a second."""
        return self.pace.until_done(self.position(job.id) + (self.running is not None))

    def result(self, job: Job) -> dict[str, Any]:
        """What a completed job made. Reads a file."""
        return jobs.result(self.folder, job)

    def _enqueue(self, job: Job) -> None:
        bisect.insort(self.waiting, job.id, key=lambda job_id: self.jobs[job_id].created)

    def _next(self) -> None:
        if self.running is None and self.waiting and self.worker.ready and not self.stopping:
            job = self.jobs[self.waiting.pop(0)]
            self.running = job.id
            self._spawn(self._begin(job))

    async def _begin(self, job: Job) -> None:
        """The run's id is on disk before the run begins: after a kill the next server has to know
        of it.
        """
        if not await anyio.to_thread.run_sync((self.folder / job.id / "job.json").is_file):
            log.warning(
                "Job %s was removed while it waited, as `avatar-pipeline consent revoke` does.",
                job.id,
            )
            self.running = None
            job.state, job.finished = "cancelled", jobs.now()
            self.forget(job)
            self._next()
            return
        before = list(job.runs)
        job.runs.append(job.id if not before else str(uuid.uuid4()))
        job.state, job.started, job.share, job.doing = "running", jobs.now(), 0.0, ""
        if not await self.save(job):
            await self._end(
                job,
                "failed",
                Fault(code="storage_failed", message=str(storage_error(True)), status=507),
            )
            return
        if self.running != job.id:  # the worker died in this moment
            return
        order = {
            "run_id": job.runs[-1],
            "before": before,
            "task": job.task,
            "params": job.params,
            "consent": job.consent_kept,
        }
        order |= {"sha256": job.sha256, "people": job.people}
        self.worker.send({"job": job.id, "folder": str(self.folder / job.id), **order})
        if job.cancelling:
            self.worker.send({"cancel": job.id})
        self._tell(job)
        self._tell_waiting()

    def _hear(self, message: dict[str, Any]) -> None:
        event = message["event"]
        if event == "ready":
            self._next()
        elif self.stopping or message["job"] != self.running:
            # A server that stops has the worker cancel what it does: that job goes on after the
            # next start.
            if event == "done":
                self._spawn(self._finish(self.jobs[message["job"]], "completed"))
        elif event == "progress":
            job = self.jobs[message["job"]]
            job.share, job.previews = message["share"], message["previews"]
            job.doing = job.doing if job.cancelling else message["doing"]
            self._tell(job)
        else:
            fault = (
                Fault(**{name: message[name] for name in Fault.model_fields})
                if event == "failed"
                else None
            )
            self._spawn(
                self._end(
                    self.jobs[message["job"]], "completed" if event == "done" else event, fault
                )
            )

    def _died(self, words: str) -> None:
        if self.running is None or self.stopping:
            return
        job, self.running = self.jobs[self.running], None
        job.deaths += 1
        if job.cancelling:
            self._spawn(self._finish(job, "cancelled"))
        elif job.deaths > 1:
            message = (
                f"The process that did this job ended twice in the middle of it ({words}). It is "
                "not tried again."
            )
            self._spawn(
                self._finish(job, "failed", Fault(code="worker_died", message=message, status=500))
            )
        else:
            job.state, job.share, job.doing = (
                "queued",
                0.0,
                "begins again: the process that did it has ended",
            )
            self._enqueue(job)
            self._spawn(self._save_and_tell(job))

    async def _end(self, job: Job, state: State, fault: Fault | None = None) -> None:
        """The running job has ended: the next one does not wait for the disk."""
        self.running = None
        if job.started is not None and state != "cancelled":
            self.pace.took((jobs.now() - job.started).total_seconds())
        self._next()
        await self._finish(job, state, fault)

    async def _finish(self, job: Job, state: State, fault: Fault | None = None) -> None:
        job.state, job.fault, job.finished, job.doing = state, fault, jobs.now(), ""
        job.share = 1.0 if state == "completed" else job.share
        await self.save(job)
        self._tell(job)
        self._told(job)
        if job.previews:
            await anyio.to_thread.run_sync(jobs.remove_preview, self.folder, job.id)

    def _told(self, job: Job) -> None:
        """Have a job's end told to its webhook, unless that has been done."""
        if (
            job.webhook is not None
            and job.webhook.state == "pending"
            and self.on_finished is not None
        ):
            self._spawn(self.on_finished(job))

    async def save(self, job: Job) -> bool:
        """Write a job's present state. Whether that could be done; if not, the log says why."""
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._writer, jobs.save, self.folder, job.model_copy()
            )
        except (StoreError, RuntimeError) as error:  # RuntimeError: the server has stopped writing
            log.error("Job %s is not on disk as it is now (%s): %s", job.id, job.state, error)
            return False
        return True

    async def _save_and_tell(self, job: Job) -> None:
        await self.save(job)
        self._tell(job)

    def forget(self, job: Job) -> None:
        """A finished job is removed."""
        self.jobs.pop(job.id)
        self.keys.forget(job)
        self._tell(job)

    def _tell(self, job: Job) -> None:
        event = self._changed.pop(job.id, None)
        if event is not None:
            event.set()

    def _tell_waiting(self) -> None:
        for job_id in self.waiting:  # their positions have changed
            self._tell(self.jobs[job_id])

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)  # the loop itself keeps weak references only
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("An error inside of the queue", exc_info=task.exception())


def _checked(folder: Path, job_id: str, check: Callable[[], None]) -> None:
    try:
        check()
    except BaseException:
        jobs.remove(folder, job_id)
        raise


def stopping(more: str = "Nothing was accepted.") -> Unavailable:
    """What requests hear from a server that is about to stop."""
    return Unavailable(
        f"This server is stopping. {more} Ask again in a moment.",
        code="stopping",
        retry_after=RESTARTS,
    )
