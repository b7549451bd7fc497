"""The synthetic people of the PyPI package `openpeople` (MIT), cut into single pictures.

Each of the ten people has an emotions sheet, four by four tiles, and a character sheet, four heads
above four bodies; each tile is in a white frame with a caption below. Frames and captions must not
leak into training pictures, so tiles are cut strictly inside their frames.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from avatar_pipeline.core.errors import PhotoError

PEOPLE = tuple(f"P{number:03d}" for number in range(1, 11))

# Reading order of the emotions sheet, the same for all ten people.
EMOTIONS = (
    "neutral",
    "happy",
    "sad",
    "angry",
    "surprised",
    "disgusted",
    "scared",
    "confused",
    "smug",
    "flirty",
    "thoughtful",
    "pensive",
    "exhausted",
    "shocked",
    "playful",
    "determined",
)

VIEWS = ("front", "left", "back", "right")  # of the character sheet's columns, as its captions say

# the frames are near white (P010's are the darkest); everything around them is grey
FRAME_BRIGHTNESS = 215
# pixels from the outer edge of a frame to clean picture: up to 6 px of line and a soft edge
FRAME_INSET = 11


def asset_path(person: str, kind: str) -> Path:
    """Return path of one installed picture, such as ("P005", "studio_portrait").

    Raises PhotoError when the package is not installed or has no such person or picture.
    """
    spec = importlib.util.find_spec("openpeople")
    if spec is None or spec.origin is None:
        raise PhotoError(
            "openpeople is not installed, and its photographs were asked for. Run: "
            "pip install openpeople"
        )
    path = Path(spec.origin).parent / "data" / "curated" / person / "assets" / f"{kind}.jpg"
    if not path.is_file():
        raise PhotoError(
            f"openpeople has no {kind!r} of {person!r}. People: {PEOPLE[0]} to {PEOPLE[-1]}."
        )
    return path


def emotion_tiles(person: str) -> dict[str, Image.Image]:
    """Return the 16 tiles of a person's emotions sheet, RGB, keyed by emotion in reading order
    (about 520x330 pixels each).
    """
    with Image.open(asset_path(person, "emotions_sheet")) as sheet:
        picture = sheet.convert("RGB")
    boxes = _frames(np.asarray(picture))
    if len(boxes) != len(EMOTIONS):
        raise PhotoError(
            f"The emotions sheet of {person} has {len(boxes)} framed tiles, not {len(EMOTIONS)}."
        )
    return {emotion: picture.crop(box) for emotion, box in zip(EMOTIONS, boxes, strict=True)}


def view_tiles(person: str) -> dict[str, Image.Image]:
    """Return the 8 tiles of a person's character sheet, RGB: "head_front", "head_left",
    "head_back", "head_right", "body_front", ...
    """
    with Image.open(asset_path(person, "character_sheet")) as sheet:
        picture = sheet.convert("RGB")
    names = [f"{part}_{view}" for part in ("head", "body") for view in VIEWS]
    boxes = _frames(np.asarray(picture))
    if len(boxes) != len(names):
        raise PhotoError(
            f"The character sheet of {person} has {len(boxes)} framed tiles, not {len(names)}."
        )
    return {name: picture.crop(box) for name, box in zip(names, boxes, strict=True)}


def _frames(sheet: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Return boxes (x0, y0, x1, y1) inside the white frames of an RGB uint8 sheet, four a row, in
    reading order.
    """
    import cv2

    white = (sheet.min(axis=2) >= FRAME_BRIGHTNESS).astype(np.uint8)
    contours, _ = cv2.findContours(white, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    height, width = white.shape
    found = []
    for contour in contours:
        x, y, w, h = cv2.boundingRect(contour)
        if width / 6 < w < width / 3.5 and height / 7 < h < height / 2:
            found.append(
                (x + FRAME_INSET, y + FRAME_INSET, x + w - FRAME_INSET, y + h - FRAME_INSET)
            )
    found.sort(key=lambda box: box[1])
    rows = [sorted(found[i : i + 4]) for i in range(0, len(found), 4)]
    return [box for row in rows for box in row]
