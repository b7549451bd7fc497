"""lora: seconds until a LoRA's pictures are as near to held-out photographs as HELD_OUT, and how
near they are at the end. Two people whom the embedded model never saw; a seed a turn.

The stage as it is, from its call; what it needs is made before, and loaded.
"""

from __future__ import annotations

from rows._actors import write
from rows._processes import inside
from rows._row import Bar, Measured, Row, Turn
from rows._sides import Side

HELD_OUT = 0.45
# The distances that the embedded model's card tells.
PEOPLE = {"P005": 0.43, "P010": 0.40}
WORDS = {
    "P005": "middle-eastern 55 year old male with dark hair combed back and a full dark beard",
    "P010": "european 25 year old female with long hair",
}
QUICK = {"max_train_steps": 2, "evaluate_every": 1, "validation_images": 1, "final_renders": 1}


def measure(side: Side, turn: Turn) -> Measured:
    figures: dict[str, float] = {}
    peaks, notes = [], []
    for person in list(PEOPLE)[:1] if turn.quick else PEOPLE:
        place = turn.folder / person
        write(place, "person", description=WORDS[person], photos=f"openpeople:{person}")
        given = {
            "seed": 42 + turn.number,
            "held_out": HELD_OUT,
            "settings": QUICK if turn.quick else {},
        }
        said, done = inside(side, "lora", given, place)
        figures[f"{person}, seconds to {HELD_OUT}"] = said["reached"]
        figures[f"{person}, final distance"] = said["distance"]
        peaks.append(done.peak)
        notes.append(f"{person}: {said['seconds']:.0f} s in all; {said['evaluations']}")
    return Measured(figures, max(peaks), tuple(notes))


ROW = Row(
    "lora",
    measure,
    tuple(
        bar
        for person, distance in PEOPLE.items()
        for bar in (
            Bar(f"{person}, seconds to {HELD_OUT}", 0.5),
            Bar(f"{person}, final distance", 1.0, enough=distance),
        )
    ),
)
