"""What the photographs show between them, and what is missing, in words that a photographer
understands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from avatar_pipeline.faces.rules import RULES
from avatar_pipeline.pipeline.assets.photo_intake.analysis import Portrait
from avatar_pipeline.pipeline.captions import TURNED

View = Literal[
    "front", "three-quarter left", "three-quarter right", "profile left", "profile right"
]
Light = Literal["even", "from the side", "dim", "bright", "warm", "cool"]

VIEWS: tuple[View, ...] = (
    "front",
    "three-quarter left",
    "three-quarter right",
    "profile left",
    "profile right",
)
EXPRESSIONS = ("neutral", "smiling", "mouth open", "eyes closed")
LIGHTS: tuple[Light, ...] = ("even", "from the side", "dim", "bright", "warm", "cool")

# Degrees of yaw. Dlib reads 32 to 39 for a head turned by 45 degrees, and finds no face in a full
# profile; InsightFace reads both.
PROFILE = 45.0
# Of the median brightness, and of the median red to blue, of this person's face: skin must not
# count as light. Openpeople's studio tiles stay within 0.8-1.2 and 0.9-1.2 of their medians;
# outdoor selfies are as low as 0.77 in colour.
DIMMER, BRIGHTER = 0.6, 1.6
COOLER, WARMER = 0.87, 1.3
MOSTLY = 1 / 3  # more than this share of closed eyes or open mouths is learned as the person's own
# How many of each a LoRA wants (proposal). Views and expressions that are not named here are
# welcome and not asked for.
FRONTAL, TURNED_EACH, NEUTRAL, SMILING = 3, 2, 2, 1

SIDES: dict[View, str] = {"three-quarter left": "left", "three-quarter right": "right"}


@dataclass(frozen=True)
class Coverage:
    """How many photographs show each view, expression and light (an expression may be two at once),
    and what is missing.
    """

    views: dict[str, int]
    expressions: dict[str, int]
    lights: dict[str, int]
    missing: list[str]


def coverage(portraits: Sequence[Portrait]) -> Coverage:
    """The coverage of the photographs that are used or held out."""
    views = Counter(view(portrait) for portrait in portraits)
    expressions = Counter[str](
        shown for portrait in portraits for shown in portrait.expressions or ("neutral",)
    )
    lit = Counter(lights(portraits))
    found = Coverage(
        {name: views[name] for name in VIEWS},
        {name: expressions[name] for name in EXPRESSIONS},
        {name: lit[name] for name in LIGHTS},
        [],
    )
    found.missing.extend(_missing(found, len(portraits)))
    return found


def view(portrait: Portrait) -> View:
    """Where the head is turned to; left and right are those of the picture, as in captions."""
    yaw = portrait.face.pose.yaw
    if abs(yaw) <= TURNED:
        return "front"
    if abs(yaw) <= PROFILE:
        return "three-quarter right" if yaw > 0 else "three-quarter left"
    return "profile right" if yaw > 0 else "profile left"


def lights(portraits: Sequence[Portrait]) -> list[Light]:
    """The light of each photograph, against the others'."""
    if not portraits:
        return []
    brightness = np.median([portrait.measured("luminance_mean") for portrait in portraits])
    warmth = np.median([portrait.warmth for portrait in portraits])
    return [
        _light(one, one.measured("luminance_mean") / float(brightness), one.warmth / float(warmth))
        for one in portraits
    ]


def _light(portrait: Portrait, brightness: float, warmth: float) -> Light:
    if not DIMMER <= brightness <= BRIGHTER:
        return "dim" if brightness < DIMMER else "bright"
    if not COOLER <= warmth <= WARMER:
        return "cool" if warmth < COOLER else "warm"
    # A turned head shows one cheek only: there the light cannot be separated from the shape.
    if view(portrait) == "front" and portrait.measured("illumination") < RULES["illumination"].low:
        return "from the side"
    return "even"


def _missing(found: Coverage, count: int) -> list[str]:
    if not count:
        return []
    texts = []
    if found.views["front"] < FRONTAL:
        texts.append(
            f"{_few(found.views['front'], 'frontal view')}: take {FRONTAL} or more with the face "
            "straight towards the camera"
        )
    for name, side in SIDES.items():
        if found.views[name] < TURNED_EACH:
            few = _few(found.views[name], f"three-quarter view to the {side}")
            more = "another" if found.views[name] else str(TURNED_EACH)
            texts.append(
                f"{few}: take {more} with the head turned by 20 to 45 degrees to the "
                f"{side} of the picture"
            )
    neutral, smiling = found.expressions["neutral"], found.expressions["smiling"]
    if smiling == count:
        texts.append(f"all photographs smile: add {NEUTRAL} or more neutral ones, mouth closed")
    elif neutral < NEUTRAL:
        texts.append(
            f"{_few(neutral, 'neutral face')}: add {NEUTRAL} or more, mouth closed and eyes open"
        )
    if smiling < SMILING:
        texts.append("no smile: add one or two, or the avatar will not know how this person smiles")
    for fault in ("eyes closed", "mouth open"):
        if found.expressions[fault] > MOSTLY * count:
            texts.append(
                f"{fault} in {found.expressions[fault]} of {count} photographs: replace some, or "
                "it is learned as the person's own"
            )
    if max(found.lights.values()) == count and count > 1:
        texts.append(
            "the light on the face is the same in all photographs: take one beside a "
            "window and one outdoors"
        )
    return texts


def _few(count: int, what: str) -> str:
    return f"no {what}" if count == 0 else f"only {count} {what}" + ("s" if count > 1 else "")
