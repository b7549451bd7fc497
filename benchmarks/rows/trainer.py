"""trainer: our trainer against diffusers' examples/dreambooth/train_dreambooth_lora.py on the
embedded architecture (lora_training.py), samples a second, each in its faster precision.
"""

from __future__ import annotations

import json

from rows._processes import run
from rows._row import Bar, Measured, NotMeasured, Row, Turn
from rows._sides import Side

STEPS, QUICK_STEPS = 20, 7  # the first five do not count


def measure(side: Side, turn: Turn) -> Measured:
    if turn.scripts is None:
        raise NotMeasured("give --scripts, examples/dreambooth of a diffusers checkout")
    who = "ours" if side.name == "now" else "theirs"
    target = turn.folder / "figures.json"
    words = ["-m", "benchmarks.lora_training", str(turn.scripts.resolve()), "--rounds", "1"]
    words += ["--who", who, "--steps", str(QUICK_STEPS if turn.quick else STEPS)]
    words += ["--json", str(target)]
    if turn.packages:
        words += ["--their-packages", str(turn.packages.resolve())]
    run(turn.now, words, turn.folder)
    (result,) = json.loads(target.read_text())["results"]
    name, best = min(result["sides"].items(), key=lambda item: min(item[1]["step"]))
    return Measured(
        {"samples a second": result["case"]["batch"] / min(best["step"])},
        max(best["peak"]) / 2**20,
        (f"{name} is the faster precision",),
    )


ROW = Row(
    "trainer", measure, (Bar("samples a second", 4.0, more=True),), columns=("diffusers", "now")
)
