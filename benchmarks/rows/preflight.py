"""preflight: milliseconds of one picture without a face, on one core.

The command on a folder, less the command on one picture: starting and loading drop out. Noise, in
which nothing is like a face, and the lower halves of full-body photographs.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from rows._processes import Done, command
from rows._row import Bar, Measured, NotMeasured, Row, Turn
from rows._sides import Side

SIDE, PICTURES, QUICK_PICTURES = 1024, 20, 2
BODY = "studio_posture"
KINDS = ("noise", "photographs")


def picture(kind: str, number: int) -> Image.Image:
    """A square picture without a face, another for each number."""
    if kind == "noise":
        random = np.random.default_rng(number)
        return Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
    from avatar_pipeline.core.openpeople import PEOPLE, asset_path

    with Image.open(asset_path(PEOPLE[number % len(PEOPLE)], BODY)) as whole:
        upright = whole.convert("RGB")
    below = upright.crop((0, upright.height // 2, upright.width, upright.height))
    scale = 1.0 + 0.05 * (number // len(PEOPLE))  # no picture twice
    side = min(below.size) / scale
    return below.resize((SIDE, SIDE), Image.Resampling.LANCZOS, (0, 0, side, side))


def examine(side: Side, folder: Path, place: Path) -> Done:
    """Run the command on one core. Raises NotMeasured when it finds a face anywhere."""
    one = {"OMP_NUM_THREADS": "1"}
    words = ["preflight", str(folder), "--json", "--jobs", "1"]
    done = command(side, words, place, more=one, allowed=(2,), one_core=True)
    reports = json.loads(done.output)["pictures"]
    seen = [report for report in reports if report["faces"]]
    if seen or len(reports) != len(list(folder.iterdir())):
        raise NotMeasured(f"{len(reports)} reports, {len(seen)} of them with a face")
    return done


def measure(side: Side, turn: Turn) -> Measured:
    count = QUICK_PICTURES if turn.quick else PICTURES
    figures, peaks = {}, []
    for kind in KINDS:
        folder, single = turn.folder / kind, turn.folder / f"{kind}-one"
        for place, numbers in ((folder, range(count)), (single, range(1))):
            place.mkdir()
            for number in numbers:
                picture(kind, number).save(place / f"{number:02d}.jpg", quality=92)
        many, one = (examine(side, place, turn.folder) for place in (folder, single))
        figures[f"{kind}, ms"] = 1000 * (many.seconds - one.seconds) / (count - 1)
        peaks.append(many.peak)
    return Measured(figures, max(peaks))


ROW = Row("preflight", measure, tuple(Bar(f"{kind}, ms", 0.5) for kind in KINDS))
