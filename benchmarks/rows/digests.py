"""digests: the same inputs, settings and seed give the same digests: made a second time, alone and
by a batch of actors, and with other batch sizes where NOW lets them be limited. NOW alone.
"""

from __future__ import annotations

from pathlib import Path

from rows._actors import demo, described
from rows._processes import command, inside
from rows._row import Bar, Measured, Row, Turn
from rows._sides import Side

VARIABLE = "AVATAR_BATCH_SIZE"
SIZES = ("1", "3")
FIGURE = "digests that differ"
SHORT = (
    "lora.max_train_steps=12",
    "lora.evaluate_every=6",
    "lora.validation_images=4",
    "lora.final_renders=4",
)
QUICK = ("base_image.steps=2", "base_image.candidates=2")
CHAIN = ("base_image", "face_validation", "training_variations", "lora")


def measure(side: Side, turn: Turn) -> Measured:
    # of photographs, whose training set and LoRA are drawn and judged in batches, too
    assets = ("photo_intake", *(CHAIN[:1] if turn.quick else CHAIN))
    only = [word for name in assets for word in ("--only", name)]
    short = [word for value in SHORT for word in ("--set", value)]
    options = [word for value in QUICK for word in ("--set", value)] if turn.quick else short

    def made(name: str, more: dict[str, str] | None = None) -> dict[str, str]:
        place = turn.folder / name
        demo(side, place)
        command(side, ["run", "demo", *only, *options], place, more=more)
        return digests(side, place)

    first = made("first")
    others = {"again": made("again")}
    limited = knows(side.folder, VARIABLE)
    if limited:
        others |= {f"{VARIABLE}={size}": made(f"size-{size}", {VARIABLE: size}) for size in SIZES}
    differing = [
        f"{how}: {name}"
        for how, found in others.items()
        for name in first
        if found.get(name) != first[name]
    ]
    differing += alone_and_together(side, turn)
    notes = [f"differs: {words}" for words in differing]
    if not limited:
        notes.append(f"other batch sizes are not tried: nothing in the code reads {VARIABLE}")
    return Measured({FIGURE: float(len(differing))}, None, tuple(notes))


def alone_and_together(side: Side, turn: Turn) -> list[str]:
    """What differs between three described actors made together and the last of them alone."""
    together, alone = turn.folder / "together", turn.folder / "alone"
    names = described(together, 3)
    described(alone, 3)
    only = ["--only", "photo_intake", "--only", "base_image"]
    if turn.quick:
        only += [word for value in QUICK for word in ("--set", value)]
    command(side, ["batch", "--all", *only], together)
    command(side, ["run", names[-1], *only], alone)
    wanted, found = digests(side, together), digests(side, alone)
    return [f"alone: {name}" for name, digest in found.items() if digest != wanted.get(name)]


def digests(side: Side, place: Path) -> dict[str, str]:
    """The digests of the store below `place`."""
    return dict(inside(side, "digests", {}, place)[0])


def knows(folder: Path, word: str) -> bool:
    """Whether the checkout's code names something."""
    return any(word in path.read_text() for path in (folder / "avatar_pipeline").rglob("*.py"))


ROW = Row("digests", measure, (Bar(FIGURE, 0.0, enough=0.0),), now_only=True)
