"""The contact sheet of all photographs, with what was decided on each."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Literal

from PIL import Image, ImageOps

from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.pipeline.assets.photo_intake.analysis import PhotoAnalysis

Decision = Literal["used", "held out", "rejected"]

COLOURS: dict[Decision, tuple[int, int, int]] = {
    "used": (60, 160, 80),
    "held out": (60, 120, 220),
    "rejected": (210, 60, 50),
}


def draw_sheet(
    analyses: Sequence[PhotoAnalysis], decisions: Mapping[str, Decision], reasons: Mapping[str, str]
) -> Image.Image:
    """Return all photographs, first those used, then held out, then rejected; the frame's colour
    tells which, and the label why.
    """
    tiles = []
    for decision, colour in COLOURS.items():
        for one in analyses:
            if decisions[one.name] == decision:
                picture = ImageOps.contain(
                    one.thumbnail or Image.new("RGB", (180, 135), (225, 225, 225)), (180, 180)
                )
                label = [
                    one.name,
                    *textwrap.wrap(
                        f"{decision}: {reasons[one.name]}" if one.name in reasons else decision, 31
                    )[:4],
                ]
                tiles.append((ImageOps.expand(picture, 6, colour), "\n".join(label)))
    return contact_sheet(tiles, 6, (192, 192))
