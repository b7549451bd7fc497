"""batch: the base images of 20 described actors, each described by words of its own, by one call of
the batch command. Their photo_intake, which has nothing to do for them, is made before.
"""

from __future__ import annotations

from rows._actors import described
from rows._processes import command, inside
from rows._row import Bar, Measured, NotMeasured, Row, Turn
from rows._sides import Side

ACTORS, QUICK_ACTORS = 20, 2
QUICK = ("--set", "base_image.candidates=2", "--set", "base_image.steps=4")


def measure(side: Side, turn: Turn) -> Measured:
    names = described(turn.folder, QUICK_ACTORS if turn.quick else ACTORS)
    command(side, ["batch", "--all", "--only", "photo_intake"], turn.folder)
    quick = QUICK if turn.quick else ()
    done = command(side, ["batch", "--all", "--only", "base_image", *quick], turn.folder)
    made, _ = inside(side, "digests", {}, turn.folder)
    missing = [name for name in names if f"{name}/base_image" not in made]
    if missing:
        raise NotMeasured(f"no base image of {', '.join(missing)}")
    return Measured({"actors a second": len(names) / done.seconds}, done.peak)


ROW = Row("batch", measure, (Bar("actors a second", 2.0, more=True),))
