"""test, test-fast: the targets of the Makefile. Needs checkouts with a .venv of their own: `make`
would install another one into this tree's.
"""

from __future__ import annotations

import subprocess
import time
from functools import partial

from rows._row import Measured, NotMeasured, Row, Turn
from rows._sides import Side


def measure(target: str, side: Side, turn: Turn) -> Measured:
    if not (side.folder / ".venv").exists():
        raise NotMeasured(f"{side.folder} has no .venv: give a checkout in which make install ran")
    began = time.monotonic()
    done = subprocess.run(["make", target], cwd=side.folder, capture_output=True, text=True)
    seconds = time.monotonic() - began
    last = (done.stdout.strip().splitlines() or [done.stderr.strip()])[-1]
    return Measured({"seconds": seconds}, None, (f"exit code {done.returncode}, {last}",))


ALL = Row("test", partial(measure, "test"), bars_memory=False)
FAST = Row("test-fast", partial(measure, "test-fast"), bars_memory=False)
