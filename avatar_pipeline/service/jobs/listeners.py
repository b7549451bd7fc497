"""Who waits for a job to change: requests for its answer, and listeners to its events."""

from __future__ import annotations

import asyncio


class Listeners:
    """Wakes everyone who waits for a job, at each of its changes."""

    def __init__(self) -> None:
        self._changed: dict[str, asyncio.Event] = {}

    async def wait(self, job_id: str) -> None:
        """Wait until a job has changed. A caller that reads the job and then calls this, without
        waiting between, misses nothing.
        """
        await self._changed.setdefault(job_id, asyncio.Event()).wait()

    def notify(self, job_id: str) -> None:
        """Wake those who wait for a job."""
        event = self._changed.pop(job_id, None)
        if event is not None:
            event.set()

    def notify_all(self) -> None:
        """Wake those who wait for any job."""
        for job_id in list(self._changed):
            self.notify(job_id)
