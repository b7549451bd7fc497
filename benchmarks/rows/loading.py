"""definitions: a new Python that imports avatar_pipeline.definitions; which heavy modules came."""

from __future__ import annotations

from rows._processes import run
from rows._row import Measured, Row, Turn
from rows._sides import Side

LOAD = (
    "import sys, avatar_pipeline.definitions; "
    "print([name for name in ('torch', 'diffusers', 'transformers', 'cv2', 'pandas') "
    "if name in sys.modules])"
)


def measure(side: Side, turn: Turn) -> Measured:
    done = run(side, ["-c", LOAD], turn.folder)
    return Measured({"seconds": done.seconds}, done.peak, (done.output.strip(),))


ROW = Row("definitions", measure, bars_memory=False)
