"""Generated cartoons side by side: with DiceBear's of the same latents, over the time of a training
(the sheets of training.py), and on a checkerboard.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from avatar_pipeline.cartoons.dataset import grid

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


def side_by_side(
    asked: np.ndarray, drawn: np.ndarray, columns: int = 12, rows: int = 4
) -> Image.Image:
    """Return DiceBear's pictures, and below each row the generator's of the same latents; on
    white.
    """
    parts = [
        half
        for row in range(rows)
        for half in (asked[row * columns :][:columns], drawn[row * columns :][:columns])
    ]
    return grid(np.concatenate(parts), columns)


def on_checkerboard(pictures: np.ndarray, columns: int = 12) -> Image.Image:
    """Return the pictures on a checkerboard, which shows what is transparent; RGB."""
    pixels = pictures.shape[2]
    rows = -(-len(pictures) // columns)
    along = np.arange(pixels * max(rows, columns)) // 8
    board = np.where(
        (along[: rows * pixels, None] + along[: columns * pixels]) % 2, 204, 255
    ).astype(np.uint8)
    return grid(pictures, columns, np.repeat(board[..., None], 3, axis=2))
