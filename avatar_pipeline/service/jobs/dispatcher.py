"""From the queue to the worker and back: which job is next, what the worker reports of it, and what
becomes of a job whose worker dies.
"""

from __future__ import annotations

import bisect
import logging
import uuid
from collections.abc import Callable
from typing import Any

from avatar_pipeline.service.errors import STORAGE_FULL, storage_error
from avatar_pipeline.service.jobs.background import BackgroundTasks
from avatar_pipeline.service.jobs.job import Fault, Job, State, now
from avatar_pipeline.service.jobs.listeners import Listeners
from avatar_pipeline.service.jobs.storage import JobStorage
from avatar_pipeline.service.jobs.supervisor import Supervisor
from avatar_pipeline.service.jobs.wait_estimate import WaitEstimator
from avatar_pipeline.service.settings import Settings

MAX_DEATHS = 2  # of workers in the middle of one job: it is not begun a third time

log = logging.getLogger(__name__)


class Dispatcher:
    """The waiting jobs in their order, and the one that the worker does.

    on_finished: is called with each job that has ended. on_removed: with a job whose files are gone
    before it began.
    """

    def __init__(
        self,
        settings: Settings,
        storage: JobStorage,
        listeners: Listeners,
        background: BackgroundTasks,
        on_finished: Callable[[Job], None],
        on_removed: Callable[[Job], None],
    ) -> None:
        self.waiting: list[Job] = []
        self.running: Job | None = None
        self.stopping = False
        self.wait_estimator = WaitEstimator()
        self.worker = Supervisor(settings, self._on_worker_message, self._on_worker_exit)
        self._storage = storage
        self._listeners = listeners
        self._background = background
        self._on_finished = on_finished
        self._on_removed = on_removed

    def enqueue(self, job: Job) -> None:
        """Put a job in its place among those that wait: by the time of its creation."""
        bisect.insort(self.waiting, job, key=lambda waiting: waiting.created)

    def start_next(self) -> None:
        """Give the worker the next job, if it takes one."""
        if self.running is None and self.waiting and self.worker.ready and not self.stopping:
            self.running = self.waiting.pop(0)
            self._background.start(self._begin(self.running, self.running.deaths))

    def position(self, job: Job) -> int:
        """Return 1 for the job that is next; 0 when it runs or is finished."""
        return self.waiting.index(job) + 1 if job in self.waiting else 0

    async def cancel(self, job: Job) -> None:
        """Take a waiting job out at once, or have the worker stop after its present step."""
        if job in self.waiting:
            self.waiting.remove(job)
            await self.finish(job, "cancelled")
            self._notify_waiting()
        elif job is self.running and not job.cancelling:
            job.cancelling = True
            job.doing = "stopping after the present step"
            self.worker.send({"cancel": job.id})
            await self._storage.save(job)
            self._listeners.notify(job.id)

    async def finish(self, job: Job, state: State, fault: Fault | None = None) -> None:
        """End a job: on disk, and for everyone who waits for it."""
        job.transition(state, fault=fault)
        await self._storage.save(job)
        self._listeners.notify(job.id)
        self._on_finished(job)
        if job.previews:
            await self._storage.remove_preview(job)

    async def _begin(self, job: Job, deaths: int) -> None:
        """Have the worker begin a job. The run's id is on disk before the run begins: after a kill
        the next server has to know of it.

        deaths: of workers, when the job became the next one. Once there are more of them, the job
        waits again, or is over.
        """
        is_there = await self._storage.has(job)
        if job.deaths != deaths:
            return
        if not is_there:
            log.warning(
                "Job %s was removed while it waited, as `avatar-pipeline consent revoke` does.",
                job.id,
            )
            self.running = None
            job.transition("cancelled")
            self._on_removed(job)
            self.start_next()
            return
        before = list(job.runs)
        job.runs.append(job.id if not before else str(uuid.uuid4()))
        job.transition("running")
        is_saved = await self._storage.save(job)
        if job.deaths != deaths:
            return
        if not is_saved:
            fault = Fault(
                code="storage_failed", message=str(storage_error(True)), status=STORAGE_FULL
            )
            await self._complete(job, "failed", fault)
            return
        order = {
            "run_id": job.runs[-1],
            "before": before,
            "task": job.task,
            "params": job.params,
            "consent": job.consent_kept,
        }
        order |= {"sha256": job.sha256, "people": job.people}
        self.worker.send({"job": job.id, "folder": str(self._storage.folder / job.id), **order})
        if job.cancelling:
            self.worker.send({"cancel": job.id})
        self._listeners.notify(job.id)
        self._notify_waiting()

    async def _complete(self, job: Job, state: State, fault: Fault | None = None) -> None:
        """End the running job: the next one does not wait for the disk."""
        self.running = None
        if job.started is not None and state != "cancelled":
            self.wait_estimator.record((now() - job.started).total_seconds())
        self.start_next()
        await self.finish(job, state, fault)

    def _on_worker_message(self, message: dict[str, Any]) -> None:
        event, job = message["event"], self.running
        if event == "ready":
            self.start_next()
        elif job is None or message["job"] != job.id:
            return  # of a job that has ended meanwhile
        elif self.stopping:
            # A server that stops has the worker cancel what it does: that job goes on after the
            # next start.
            if event == "done":
                self._background.start(self.finish(job, "completed"))
        elif event == "progress":
            job.share, job.previews = message["share"], message["previews"]
            job.doing = job.doing if job.cancelling else message["doing"]
            self._listeners.notify(job.id)
        elif event == "failed":
            fault = Fault(**{name: message[name] for name in Fault.model_fields})
            self._background.start(self._complete(job, "failed", fault))
        else:
            state: State = "completed" if event == "done" else "cancelled"
            self._background.start(self._complete(job, state))

    def _on_worker_exit(self, reason: str) -> None:
        """Have the running job begun again, or ended when workers have died of it."""
        job = self.running
        if job is None or self.stopping:
            return
        self.running = None
        job.deaths += 1
        if job.cancelling:
            self._background.start(self.finish(job, "cancelled"))
        elif job.deaths >= MAX_DEATHS:
            message = (
                f"The process that did this job ended twice in the middle of it ({reason}). It is "
                "not tried again."
            )
            fault = Fault(code="worker_died", message=message, status=500)
            self._background.start(self.finish(job, "failed", fault))
        else:
            job.transition("queued", doing="begins again: the process that did it has ended")
            self.enqueue(job)
            self._background.start(self._save_and_notify(job))

    async def _save_and_notify(self, job: Job) -> None:
        await self._storage.save(job)
        self._listeners.notify(job.id)

    def _notify_waiting(self) -> None:
        for job in self.waiting:  # their positions have changed
            self._listeners.notify(job.id)
