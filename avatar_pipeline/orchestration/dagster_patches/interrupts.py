"""Whether a signal asked this process to stop, even where Dagster has already forgotten it.

The threat: while a run executes, Dagster replaces the handlers of SIGINT and SIGTERM. A signal that
comes while it writes its last events is noted by the inner run and dropped when that ends: a batch
of many runs would go on with the next actor.
The mechanism: Python's wakeup file descriptor receives every signal, whatever handles it.
Its limits: signals reach the main thread only; elsewhere nothing is ever reported, and nothing
could interrupt a run there.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

STOPPING = {signal.SIGINT, signal.SIGTERM}


@contextmanager
def noticed_interrupts() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGINT or SIGTERM came since the block was entered."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    came = False

    def interrupted() -> bool:
        nonlocal came
        with suppress(BlockingIOError):  # no signal since the last check
            came = came or any(number in STOPPING for number in os.read(reading, 4096))
        return came

    try:
        yield interrupted
    finally:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)
