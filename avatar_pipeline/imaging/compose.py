"""Compose images of several: labelled grids, and a part put back where it was cut from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps


def paste_warped(
    image: np.ndarray, part: np.ndarray, mask: np.ndarray, matrix: np.ndarray
) -> np.ndarray:
    """Return `image` with `part` put back where it was cut from.

    image: (H, W, 3) uint8. part: (h, w, 3) uint8. mask: (h, w) float32, 0 to 1: how much of `part`
    shows. matrix: (2, 3), from pixels of `image` to pixels of `part`, a similarity. Returns a new
    (H, W, 3) uint8 picture, blended in gamma space; where the mask is 0 its pixels are those of
    `image`.
    """
    import cv2

    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale > 1:  # warpAffine does not average: shrink first, to what it is in the image
        size = (max(1, round(part.shape[1] / scale)), max(1, round(part.shape[0] / scale)))
        shrunk = np.array([size[0] / part.shape[1], size[1] / part.shape[0]])
        part, mask = (
            cv2.resize(array, size, interpolation=cv2.INTER_AREA) for array in (part, mask)
        )
        # pixel centres: a pixel of the shrunk part covers several of the part
        matrix = np.hstack(
            [matrix[:, :2] * shrunk[:, None], ((matrix[:, 2] + 0.5) * shrunk - 0.5)[:, None]]
        )
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    size = (image.shape[1], image.shape[0])
    warped = cv2.warpAffine(part, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    weight = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)[
        ..., None
    ]
    blended = image + weight * (warped.astype(np.float32) - image)
    pasted: np.ndarray = blended.round().clip(0, 255).astype(np.uint8)
    return pasted


def contact_sheet(
    tiles: Sequence[tuple[Image.Image, str]], columns: int, tile: tuple[int, int]
) -> Image.Image:
    """Return a labelled grid, row by row: pictures fitted into cells of `tile` = (width, height)
    pixels, each with its label below.

    A label may have several lines; each is cut to the cell's width. Raises ValueError without tiles
    or columns.
    """
    if not tiles or columns < 1:
        raise ValueError("A contact sheet needs at least one picture and one column.")
    gap, line = 8, 16
    font = ImageFont.load_default(12)
    width, height = tile
    columns = min(columns, len(tiles))
    labels = [label.splitlines() for _, label in tiles]
    cell = (width + gap, height + gap + line * max(map(len, labels)))
    sheet = Image.new(
        "RGB", (columns * cell[0] + gap, -(-len(tiles) // columns) * cell[1] + gap), (250, 250, 250)
    )
    draw = ImageDraw.Draw(sheet)
    for index, (image, _) in enumerate(tiles):
        x, y = gap + index % columns * cell[0], gap + index // columns * cell[1]
        fitted = ImageOps.contain(image.convert("RGB"), tile, Image.Resampling.LANCZOS)
        sheet.paste(fitted, (x + (width - fitted.width) // 2, y + (height - fitted.height) // 2))
        for row, text in enumerate(labels[index]):
            draw.text(
                (x, y + height + row * line),
                _shorten(text, font, width),
                fill=(30, 30, 30),
                font=font,
            )
    return sheet


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Return the text, cut with an ellipsis to `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
