"""The queue: accepted jobs in their order, one worker, everything on disk before it is accepted."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from avatar_pipeline.errors import NotFound, Unavailable
from avatar_pipeline.service import job as jobs
from avatar_pipeline.service.job import Fault, Job
from avatar_pipeline.service.settings import Settings
from avatar_pipeline.service.worker import work
from avatar_pipeline.tasks.folder import write_inputs


class JobQueue:
    """Started and stopped by the app's lifespan; its methods are called on the event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder: Path = settings.folder / "jobs"
        self.jobs: dict[str, Job] = {}
        self.waiting: list[str] = []
        self.running: str | None = None
        self._changed: dict[str, asyncio.Event] = {}

    def start(self) -> None:
        """Start the worker, and queue again what an earlier server had accepted and not finished."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._loop = asyncio.get_running_loop()
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, self.settings), name="avatar_pipeline worker", daemon=True)
        self._process.start()
        theirs.close()
        for job in jobs.load_all(self.folder):
            self.jobs[job.id] = job
            if not job.is_finished:
                job.state = "queued"
                self.waiting.append(job.id)
        threading.Thread(target=self._listen, daemon=True).start()
        self._next()

    def stop(self) -> None:
        """End the worker; what it was doing is done again after the next start."""
        self._connection.close()
        self._process.join(5)
        self._process.kill()

    async def submit(
        self,
        task: str,
        params: BaseModel,
        files: Mapping[str, bytes] | None = None,
        *,
        owner: str = "",
        webhook: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Accept a job: it is on disk when this returns. files: inputs by file name (image.png).

        Raises Unavailable when the queue is full.
        """
        if len(self.waiting) >= self.settings.queue_limit:
            raise Unavailable(f"{len(self.waiting)} jobs are waiting, which is the most. Ask again later.", retry_after=5)
        job = Job(
            id=str(uuid.uuid4()),
            task=task,
            params=params.model_dump(mode="json", exclude_none=True),
            owner=owner,
            webhook=webhook,
        )
        write_inputs(self.folder / job.id, dict(files or {}))
        jobs.save(self.folder, job)
        self.jobs[job.id] = job
        self.waiting.append(job.id)
        self._next()
        return job

    def get(self, job_id: str) -> Job:
        """Raises NotFound for an unknown id."""
        if job_id not in self.jobs:
            raise NotFound(f"There is no job {job_id}. Finished jobs are kept for {self.settings.job_days:g} days.")
        return self.jobs[job_id]

    async def wait(self, job_id: str, seconds: float) -> Job:
        """The job, finished or after `seconds`, whichever comes first."""
        job = self.get(job_id)
        deadline = asyncio.get_running_loop().time() + seconds
        while not job.is_finished and (left := deadline - asyncio.get_running_loop().time()) > 0:
            event = self._changed.setdefault(job_id, asyncio.Event())
            try:
                await asyncio.wait_for(event.wait(), left)
            except TimeoutError:
                break
        return job

    def cancel(self, job_id: str) -> Job:
        """Take a waiting job out of the queue, or ask the worker to stop after the present step."""
        job = self.get(job_id)
        if job_id in self.waiting:
            self.waiting.remove(job_id)
            self._end(job, "cancelled")
        elif job_id == self.running:
            self._connection.send({"cancel": job_id})
        return job

    def position(self, job_id: str) -> int:
        """Jobs before it; 0 when it runs or is finished."""
        return self.waiting.index(job_id) + 1 if job_id in self.waiting else 0

    def result(self, job: Job) -> dict[str, Any]:
        """What a completed job made."""
        return jobs.result(self.folder, job)

    def _next(self) -> None:
        if self.running is not None or not self.waiting:
            return
        job = self.jobs[self.waiting.pop(0)]
        self.running = job.id
        run_id = job.id if not job.runs else str(uuid.uuid4())
        job.runs.append(run_id)
        job.state, job.started = "running", jobs.now()
        jobs.save(self.folder, job)
        self._tell(job)
        order = {"job": job.id, "run_id": run_id, "task": job.task, "params": job.params, "folder": str(self.folder / job.id)}
        self._connection.send(order)

    def _listen(self) -> None:
        try:
            while True:
                message = self._connection.recv()
                self._loop.call_soon_threadsafe(self._hear, message)
        except (EOFError, OSError):
            return

    def _hear(self, message: dict[str, Any]) -> None:
        job = self.jobs[message["job"]]
        if message["event"] == "progress":
            job.share, job.doing = message["share"], message["doing"]
            self._tell(job)
            return
        self.running = None
        if message["event"] == "failed":
            job.fault = Fault(code=message["code"], message=message["message"], field=message["field"])
        self._end(job, {"done": "completed"}.get(message["event"], message["event"]))
        self._next()

    def _end(self, job: Job, state: Any) -> None:
        job.state, job.finished, job.share = state, jobs.now(), 1.0 if state == "completed" else job.share
        jobs.save(self.folder, job)
        self._tell(job)

    def _tell(self, job: Job) -> None:
        event = self._changed.pop(job.id, None)
        if event is not None:
            event.set()
