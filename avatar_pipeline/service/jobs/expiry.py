"""Removes finished jobs, with their pictures, that are too old or too many. Their Dagster runs
stay.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio.to_thread

from avatar_pipeline.service.jobs import job as jobs

if TYPE_CHECKING:
    from avatar_pipeline.service.jobs.queue import JobQueue

SELDOM = 600.0  # seconds between two looks, at most
# seconds after which a folder without a job.json is no request that is being accepted
LEFTOVERS = 3600.0


async def expire_jobs(queue: JobQueue) -> None:
    """Look now and then, for ever."""
    seconds = queue.settings.job_days * 86400
    while True:
        finished = sorted(
            (job for job in queue.jobs.values() if job.finished), key=lambda job: str(job.finished)
        )
        for number, job in enumerate(finished, 1):
            age = (jobs.now() - job.finished).total_seconds() if job.finished else 0.0
            if age > seconds or len(finished) - number >= queue.settings.jobs_kept:
                queue.forget(job)
                await anyio.to_thread.run_sync(jobs.remove, queue.folder, job.id)
        queue.keys.expire()
        await anyio.to_thread.run_sync(
            jobs.remove_leftovers, queue.folder, set(queue.jobs), max(seconds, LEFTOVERS)
        )
        await asyncio.sleep(min(max(seconds / 20, 0.5), SELDOM))
