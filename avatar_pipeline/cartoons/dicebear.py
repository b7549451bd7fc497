"""A cartoon drawn by DiceBear, the program whose pictures the generators learned from: the labelled
baseline.
"""

from __future__ import annotations

import hashlib
import io
import json
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from avatar_pipeline.cartoons.attributes import ATTRIBUTES, PIXELS, Size
from avatar_pipeline.core.errors import ModelError

if TYPE_CHECKING:
    from dicebear import Style

STYLE = "open-peeps"
LICENCE = "CC0 1.0"


def draw(described: dict[str, str], size: Size) -> Image.Image:
    """Return the cartoon with these attributes (DiceBear's option -> value), RGBA, straight alpha,
    as large as the size says.
    """
    import resvg_py
    from dicebear import Avatar

    options: dict[str, Any] = {"seed": "", "size": PIXELS[size]}
    for item in ATTRIBUTES:
        value = described.get(item.name)
        if item.name.endswith("Variant") and item.share < 1:
            options[item.name.removesuffix("Variant") + "Probability"] = 100 if value else 0
        if value:
            options[item.name] = [value]
    svg = Avatar(style(), options).to_string()
    png = bytes(
        resvg_py.svg_to_bytes(
            svg_string=svg, width=PIXELS[size], height=PIXELS[size], skip_system_fonts=True
        )
    )
    return Image.open(io.BytesIO(png)).convert("RGBA")


@cache
def style() -> Style:
    """Return the definition of the style. Raises ModelError when its licence is not the one that it
    was chosen for.
    """
    from dicebear import Style

    licence = definition()["meta"]["license"]["name"]
    if licence != LICENCE:
        raise ModelError(
            f"the licence of DiceBear's style {STYLE} is {licence!r}, not {LICENCE!r}: see what "
            "it allows before using it."
        )
    return Style(definition())


@cache
def style_sha256() -> str:
    """Return the sha256 of the style's definition, which names the style that drew a picture."""
    return hashlib.sha256(_definition_file().read_bytes()).hexdigest()


def definition() -> dict[str, Any]:
    """Return the style as dicebear-styles has it: `meta` holds author, source and licence."""
    return json.loads(_definition_file().read_text("utf-8"))


def _definition_file() -> Traversable:
    return files("dicebear_styles").joinpath(f"{STYLE}.json")


def premultiplied(picture: Image.Image) -> np.ndarray:
    """Return (4, height, width) uint8: colours times alpha, so that what is invisible has no colour
    to be learned.
    """
    pixels = np.asarray(picture.convert("RGBA"), np.uint16)
    pixels = np.concatenate(
        [(pixels[..., :3] * pixels[..., 3:] + 127) // 255, pixels[..., 3:]], axis=2
    )
    return pixels.astype(np.uint8).transpose(2, 0, 1)
