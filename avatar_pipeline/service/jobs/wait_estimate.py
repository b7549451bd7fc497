"""How long clients should wait, from how long the last jobs took."""

from __future__ import annotations

import math
import time
from collections import deque

REMEMBERED = 20  # jobs
FIRST = 5.0  # seconds, before any job has been done: a start of the worker with the embedded model
MOST = 300  # seconds that anybody is told to wait


class Pace:
    """Remembers the last jobs, and whom it told to come back when."""

    def __init__(self) -> None:
        self._took: deque[float] = deque(maxlen=REMEMBERED)
        self._promised = 0.0  # the last time that somebody was told to come back

    def took(self, seconds: float) -> None:
        """A job has been done in so many seconds."""
        self._took.append(seconds)

    @property
    def seconds(self) -> float:
        """What a job takes."""
        return sum(self._took) / len(self._took) if self._took else FIRST

    def until_done(self, position: int) -> int:
        """Seconds until a job is done before which so many are, itself included."""
        return min(max(math.ceil(position * self.seconds), 1), MOST)

    def until_room(self) -> int:
        """Seconds until the next place in a full queue is free for somebody who is refused now.

        One place is free with each job that ends, and is promised once: of many who are refused
        together, each is told a later time.
        """
        here = time.monotonic()
        self._promised = min(max(here, self._promised) + self.seconds, here + MOST)
        return max(math.ceil(self._promised - here), 1)
