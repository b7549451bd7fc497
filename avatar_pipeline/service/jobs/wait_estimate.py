"""How long clients should wait, from how long the last jobs took."""

from __future__ import annotations

import math
import time
from collections import deque

JOBS_REMEMBERED = 20
# before any job has been done: a start of the worker with the bundled model
FIRST_ESTIMATE_S = 5.0
MAX_WAIT_S = 300  # that any client is asked to wait


class WaitEstimator:
    """Remembers how long the last jobs took, and which refused client was asked to return when."""

    def __init__(self) -> None:
        self._durations: deque[float] = deque(maxlen=JOBS_REMEMBERED)
        self._promised = 0.0  # the last time at which a client was asked to return

    def record(self, seconds: float) -> None:
        """Take note of a job that took so many seconds."""
        self._durations.append(seconds)

    @property
    def seconds_per_job(self) -> float:
        """Return the mean duration of the last jobs."""
        if not self._durations:
            return FIRST_ESTIMATE_S
        return sum(self._durations) / len(self._durations)

    def until_done(self, jobs: int) -> int:
        """Return the seconds until so many jobs are done, one after the other."""
        return min(max(math.ceil(jobs * self.seconds_per_job), 1), MAX_WAIT_S)

    def until_room(self) -> int:
        """Return the seconds until the next place in a full queue is free for a client that is
        refused now.

        One place is free with each job that ends, and is promised once: of many clients that are
        refused together, each is given a later time.
        """
        here = time.monotonic()
        latest = here + MAX_WAIT_S
        self._promised = min(max(here, self._promised) + self.seconds_per_job, latest)
        return max(math.ceil(self._promised - here), 1)
