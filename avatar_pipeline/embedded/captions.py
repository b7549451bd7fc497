"""Captions for the embedded model's training pictures, in the wording that the pipeline's prompts use.

A caption names what is known and leaves out parts at random, so that short prompts work as well as long ones.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from avatar_pipeline.diffusion.prompts import base_prompt
from avatar_pipeline.embedded.people import Person

EXPRESSIONS: dict[str, tuple[str, ...]] = {
    "neutral": ("neutral expression", "neutral expression, mouth closed, eyes open", "relaxed neutral face"),
    "happy": ("smiling", "happy expression", "broad smile showing teeth"),
    "sad": ("sad expression", "sad"),
    "angry": ("angry expression", "angry"),
    "surprised": ("surprised expression", "surprised, mouth open"),
    "disgusted": ("disgusted expression", "disgusted"),
    "scared": ("scared expression", "scared"),
    "confused": ("confused expression", "confused"),
    "smug": ("smug expression", "slight smile"),
    "flirty": ("flirty expression", "winking"),
    "thoughtful": ("thoughtful expression", "thoughtful"),
    "pensive": ("pensive expression", "looking down"),
    "exhausted": ("exhausted expression", "tired, eyes closed"),
    "shocked": ("shocked expression", "shocked, mouth wide open"),
    "playful": ("playful expression", "playful, tongue out"),
    "determined": ("determined expression", "serious expression"),
}
VIEWS = {
    "front": ("frontal view", "front view", "facing camera"),
    "left": ("head turned left", "three-quarter view from the left"),
    "right": ("head turned right", "three-quarter view from the right"),
}
LIGHTS = {
    "even": ("studio lighting", "professional lighting", "even light"),
    "bright": ("bright light",),
    "dim": ("dim light",),
    "warm": ("warm light",),
    "cool": ("cool light",),
}
BACKGROUNDS = {
    "gray": ("gray studio background", "neutral gray studio background", "neutral background", "solid background"),
    "beige": ("beige studio background", "neutral beige studio background"),
    "dark": ("dark background",),
    "blue": ("blue background",),
    "outdoors": ("outdoors", "natural background"),
    "indoors": ("indoors", "room in the background"),
}
# The tail of the pipeline's own prompts; it carries no information, and the model must not be thrown by it.
QUALITY = ("sharp focus, high quality, photorealistic", "high quality, photorealistic", "sharp focus, clean composition")


@dataclass(frozen=True)
class Picture:
    """What a training picture shows: keys of the tables above."""

    expression: str
    view: str = "front"
    light: str = "even"
    background: str = "gray"


def mix(canvas: Person, face: Person, share: float) -> Person:
    """Attributes of a morph: `canvas` keeps its hair and skin, `face` contributes `share` (0-1) of the face."""
    if share < 0.35:
        return canvas
    if share > 0.65:
        return replace(face, hair=canvas.hair, skin=canvas.skin)
    sex = canvas.sex if canvas.sex == face.sex else ""
    ages = (min(canvas.ages[0], face.ages[0]), max(canvas.ages[1], face.ages[1]))
    return Person(sex, ages, canvas.ethnicities + face.ethnicities, canvas.skin, canvas.hair, canvas.features + face.features)


def describe(person: Person, rng: random.Random) -> str:
    """A description such as `european 38 year old female with short curly dark hair`."""
    words = []
    if rng.random() < 0.9:
        words.append(rng.choice(person.ethnicities))
    if rng.random() < 0.8:
        words.append(f"{rng.randint(*person.ages)} year old")
    nouns = {"male": ("male", "male", "man"), "female": ("female", "female", "woman"), "": ("person",)}[person.sex]
    words.append(rng.choice(nouns))
    details = [d for d, p in ((person.hair, 0.85), (person.skin, 0.35), (rng.choice(person.features), 0.35)) if rng.random() < p]
    return " ".join(words) + (" with " + " and ".join(details) if details else "")


def caption(person: Person, picture: Picture, rng: random.Random) -> str:
    """One caption; different draws of `rng` word the same facts differently."""
    plain = (picture.expression, picture.view, picture.light) == ("neutral", "front", "even")
    if plain and picture.background in ("gray", "beige") and rng.random() < 0.5:
        return base_prompt(describe(person, rng), "headshot")
    lead = rng.choice(
        (
            "Professional headshot studio portrait photograph of a ",
            "Professional headshot of a ",
            "headshot portrait photograph of a ",
            "photograph of a ",
            "photo of a ",
        )
    )
    parts = [lead + describe(person, rng), rng.choice(EXPRESSIONS[picture.expression])]
    optional = [
        (rng.choice(VIEWS[picture.view]), 0.9 if picture.view != "front" else 0.5),
        (rng.choice(BACKGROUNDS[picture.background]), 0.9 if picture.background != "gray" else 0.5),
        (rng.choice(LIGHTS[picture.light]), 0.9 if picture.light != "even" else 0.4),
        (rng.choice(QUALITY), 0.4),
    ]
    parts += [text for text, probability in optional if rng.random() < probability]
    return rng.choice((", ", ". ")).join(parts)
