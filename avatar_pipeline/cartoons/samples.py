"""The sample sheets of a training (training.py) as one picture: how the same latents were drawn
over time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

SHOWN = 6
# A sheet has DiceBear's pictures, the generator's of the same latents, and the same for as many
# others.
ROWS = 4


def over_time(sheets: Sequence[Path], shown: int = SHOWN) -> Image.Image:
    """Return DiceBear's row, and below it the generator's on some of the sheets, from the first to
    the last; RGB. sheets: at least one.
    """
    last = len(sheets) - 1
    picked = sorted({round(index * last / max(1, shown - 1)) for index in range(shown)})
    rows: list[Image.Image] = []
    for index in picked:
        with Image.open(sheets[index]) as sheet:
            height = sheet.height // ROWS
            if not rows:
                rows.append(sheet.convert("RGB").crop((0, 0, sheet.width, height)))
            rows.append(sheet.convert("RGB").crop((0, height, sheet.width, 2 * height)))
    strip = Image.new("RGB", (rows[0].width, height * len(rows)), "white")
    for place, row in enumerate(rows):
        strip.paste(row, (0, place * height))
    return strip
