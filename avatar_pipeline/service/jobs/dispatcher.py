"""From the queue to the worker and back: which jobs are next, what the worker reports of them, and
what becomes of jobs whose worker dies.

The next job takes along what waits behind it and can be drawn in the same batch; a job never waits
for others to come. While the jobs of one batch are being finished (checked, signed, stored), the
next batch is drawn.
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
from avatar_pipeline.tasks.drawing_key import DrawingKey, drawing_key

MAX_DEATHS = 2  # of workers in the middle of one job: it is not begun a third time
# Jobs that are drawn together, at most: more of them are hardly cheaper on a CPU, and the first one
# waits for all.
MAX_TOGETHER = 4

log = logging.getLogger(__name__)


class Dispatcher:
    """The waiting jobs in their order, and those that the worker does.

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
        self.running: dict[str, Job] = {}
        self._undrawn: set[str] = set()  # of those, which still need the device
        self._together: dict[str, int] = {}  # and how many began together with each
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
        """Give the worker the next job, if it takes one, with those that are drawn together with
        it.
        """
        if self._undrawn or not self.waiting or not self.worker.ready or self.stopping:
            return
        key = _key(self.waiting[0])
        # what is drawn by itself has the worker for itself
        if self.running and (key is None or len(self.running) > MAX_TOGETHER):
            return
        alike = [job for job in self.waiting if key is not None and _key(job) == key]
        jobs = alike[:MAX_TOGETHER] or self.waiting[:1]
        for job in jobs:
            self.waiting.remove(job)
            self.running[job.id], self._together[job.id] = job, len(jobs)
            self._undrawn.add(job.id)
        self._background.start(
            self._begin({job.id: job.deaths for job in jobs}, batched=key is not None)
        )

    def position(self, job: Job) -> int:
        """Return 1 for the job that is next; 0 when it runs or is finished."""
        return self.waiting.index(job) + 1 if job in self.waiting else 0

    async def cancel(self, job: Job) -> None:
        """Take a waiting job out at once, or have the worker stop after its present step."""
        if job in self.waiting:
            self.waiting.remove(job)
            await self.finish(job, "cancelled")
            self._notify_waiting()
        elif job.id in self.running and not job.cancelling:
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

    async def _begin(self, deaths: dict[str, int], *, batched: bool) -> None:
        """Have the worker begin jobs. The ids of their runs are on disk before they begin: after a
        kill the next server has to know of them.

        deaths: of workers, by job, when the jobs became the next ones. Once there are more of them,
        a job waits again, or is over. batched: whether the jobs may be drawn in one batch.
        """
        jobs = [self.running[job_id] for job_id in deaths]
        orders = [(job, await self._order(job, deaths[job.id])) for job in jobs]
        begun = [(job, order) for job, order in orders if order and job.deaths == deaths[job.id]]
        if not begun:
            return
        each = [order | {"batched": batched} for _, order in begun]
        self.worker.send(each[0] if len(each) == 1 else {"together": each})
        for job, _ in begun:
            if job.cancelling:
                self.worker.send({"cancel": job.id})
            self._listeners.notify(job.id)
        self._notify_waiting()

    async def _order(self, job: Job, deaths: int) -> dict[str, Any] | None:
        """Return what the worker is sent for a job; None when it is not begun."""
        is_there = await self._storage.has(job)
        if job.deaths != deaths:
            return None
        if not is_there:
            log.warning(
                "Job %s was removed while it waited, as `avatar-pipeline consent revoke` does.",
                job.id,
            )
            self._forget(job)
            job.transition("cancelled")
            self._on_removed(job)
            self.start_next()
            return None
        before = list(job.runs)
        job.runs.append(job.id if not before else str(uuid.uuid4()))
        job.transition("running")
        is_saved = await self._storage.save(job)
        if job.deaths != deaths:
            return None
        if not is_saved:
            fault = Fault(
                code="storage_failed", message=str(storage_error(True)), status=STORAGE_FULL
            )
            self._complete(job, "failed", fault)
            return None
        return {
            "job": job.id,
            "folder": str(self._storage.folder / job.id),
            "run_id": job.runs[-1],
            "before": before,
            "task": job.task,
            "params": job.params,
            "consent": job.consent_kept,
            "sha256": job.sha256,
            "people": job.people,
        }

    def _forget(self, job: Job) -> int:
        """Take a job out of those that the worker does. Return how many began together."""
        del self.running[job.id]
        self._undrawn.discard(job.id)
        return self._together.pop(job.id)

    def _complete(self, job: Job, state: State, fault: Fault | None = None) -> None:
        """End a running job: the next one does not wait for the disk."""
        together = self._forget(job)
        if job.started is not None and state != "cancelled":
            self.wait_estimator.record((now() - job.started).total_seconds() / together)
        self.start_next()
        self._background.start(self.finish(job, state, fault))

    def _on_worker_message(self, message: dict[str, Any]) -> None:
        event, job = message["event"], self.running.get(message.get("job", ""))
        if event == "ready":
            self.start_next()
        elif job is None:
            return  # of a job that has ended meanwhile
        elif self.stopping:
            # A server that stops has the worker cancel what it does: that job goes on after the
            # next start.
            if event == "done":
                self._background.start(self.finish(job, "completed"))
        elif event == "drawn":  # what is left to do of it needs no device
            self._undrawn.discard(job.id)
            self.start_next()
        elif event == "progress":
            job.share, job.previews = message["share"], message["previews"]
            job.doing = job.doing if job.cancelling else message["doing"]
            self._listeners.notify(job.id)
        elif event == "failed":
            fault = Fault(**{name: message[name] for name in Fault.model_fields})
            self._complete(job, "failed", fault)
        else:
            state: State = "completed" if event == "done" else "cancelled"
            self._complete(job, state)

    def _on_worker_exit(self, reason: str) -> None:
        """Have the running jobs begun again, or ended when workers have died of them."""
        if self.stopping:
            return
        for job in list(self.running.values()):
            self._forget(job)
            self._on_death(job, reason)

    def _on_death(self, job: Job, reason: str) -> None:
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


def _key(job: Job) -> DrawingKey | None:
    """Return what jobs have in common that are drawn together; None for one that is done by itself:
    also when a worker or a server died of it, or of others beside it.
    """
    return None if job.sha256 or job.runs else drawing_key(job.task, job.params)
