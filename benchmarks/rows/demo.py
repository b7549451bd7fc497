"""demo: `avatar-pipeline run demo`, all seven assets in a fresh store and a fresh DAGSTER_HOME."""

from __future__ import annotations

from rows._actors import demo
from rows._processes import command, inside
from rows._row import Bar, Measured, NotMeasured, Row, Turn
from rows._sides import Side

ASSETS = 7
QUICK = ("photo_intake", "base_image", "face_validation")


def measure(side: Side, turn: Turn) -> Measured:
    demo(side, turn.folder)
    command(side, ["register"], turn.folder)
    only = [word for name in QUICK for word in ("--only", name)] if turn.quick else []
    done = command(side, ["run", "demo", *only], turn.folder)
    made, _ = inside(side, "digests", {}, turn.folder)
    wanted = len(QUICK) if turn.quick else ASSETS
    if len(made) != wanted:
        raise NotMeasured(f"{len(made)} of {wanted} assets were made: {', '.join(made)}")
    return Measured({"seconds": done.seconds}, done.peak)


ROW = Row("demo", measure, (Bar("seconds", 0.5),))
