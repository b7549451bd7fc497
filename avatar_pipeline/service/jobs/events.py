"""Server-sent events of one job: what changes is sent at once, to as many as listen."""

from __future__ import annotations

from collections.abc import AsyncIterator

from avatar_pipeline.service.jobs.job import Job
from avatar_pipeline.service.jobs.queue import JobQueue


async def changes(queue: JobQueue, job: Job) -> AsyncIterator[str]:
    """Yield names of events, as they happen: queued, progress, preview, and completed, failed or
    cancelled, after which it ends.

    The first one is the current state, so that a client that connects again misses nothing. A slow
    listener gets fewer: each event is sent with the job as it then is. It also ends when the
    server stops; the client then connects again by itself.
    """
    previews = 0
    while job.id in queue.jobs:
        if job.is_finished:
            yield job.state
            return
        if queue.stopping:
            return
        event = (
            "queued"
            if job.state == "queued"
            else "preview"
            if job.previews > previews
            else "progress"
        )
        seen, previews = _seen(queue, job), job.previews
        yield event
        while _seen(queue, job) == seen and job.id in queue.jobs and not queue.stopping:
            await queue.listeners.wait(job.id)


def _seen(queue: JobQueue, job: Job) -> tuple[object, ...]:
    return (job.state, queue.position(job), job.share, job.doing, job.previews)
