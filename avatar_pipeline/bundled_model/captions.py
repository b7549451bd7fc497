"""Captions for the embedded model's training pictures, in the wording that the pipeline's prompts
use.

A caption names what is known and leaves out parts at random, so that short prompts work as well as
long ones. Beside its words it
says which facts it names: the text encoder is first taught to read those facts (train_text), and
only then to steer pictures.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from avatar_pipeline.bundled_model.people_attributes import Person
from avatar_pipeline.diffusion.prompts import base_prompt

EXPRESSIONS: dict[str, tuple[str, ...]] = {
    "neutral": (
        "neutral expression",
        "neutral expression, mouth closed, eyes open",
        "relaxed neutral face",
    ),
    "happy": (
        "smiling",
        "happy expression",
        "broad smile showing teeth",
        "happy, smiling",
        "laughing",
    ),
    "sad": ("sad expression", "sad", "frowning"),
    "angry": ("angry expression", "angry"),
    "surprised": ("surprised expression", "surprised, mouth open", "surprised"),
    "disgusted": ("disgusted expression", "disgusted"),
    "scared": ("scared expression", "scared", "afraid"),
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
    "left": ("head turned left", "three-quarter view from the left", "looking left"),
    "right": ("head turned right", "three-quarter view from the right", "looking right"),
}
LIGHTS = {
    "even": ("studio lighting", "professional lighting", "even light"),
    "bright": ("bright light",),
    "dim": ("dim light",),
    "warm": ("warm light",),
    "cool": ("cool light",),
}
BACKGROUNDS = {
    "gray": (
        "gray studio background",
        "neutral gray studio background",
        "neutral background",
        "solid background",
    ),
    "beige": ("beige studio background", "neutral beige studio background"),
    "dark": ("dark background", "black background"),
    "blue": ("blue background",),
    "white": ("white background", "plain white background"),
    "outdoors": ("outdoors", "natural background", "in a park"),
    "indoors": ("indoors", "room in the background"),
}
LEADS = {
    "headshot": (
        "Professional headshot studio portrait photograph of a ",
        "Professional headshot of a ",
        "headshot portrait photograph of a ",
        "portrait photograph of a ",
        "close-up photo of a ",
        "photo of a ",
    ),
    "half_body": (
        "Professional half-body studio portrait photograph of a ",
        "half-body portrait photograph of a ",
        "half body photo of a ",
        "upper body photo of a ",
    ),
    "full_body": (
        "Professional full-body studio portrait photograph of a ",
        "full-body portrait photograph of a ",
        "full body photo of a ",
        "full-length photo of a ",
    ),
}
# The tail of the pipeline's own prompts; it carries no information, and the model must not be
# thrown by it.
QUALITY = (
    "sharp focus, high quality, photorealistic",
    "high quality, photorealistic",
    "sharp focus, clean composition",
)
# What people also ask for and no training picture tells: the text encoder learns that these words
# say nothing it knows.
UNKNOWN = (
    "blue eyes",
    "green eyes",
    "brown eyes",
    "hazel eyes",
    "glasses",
    "a red shirt",
    "a black jacket",
    "a tie",
    "a hat",
    "earrings",
)
AGE_GROUPS = (25, 35, 45)  # upper ends in years; a person of 30 belongs to the second


@dataclass(frozen=True)
class Picture:
    """What a training picture shows: keys of the tables above. An empty view is one that no word
    fits.
    """

    expression: str
    view: str = "front"
    light: str = "even"
    background: str = "gray"
    framing: str = "headshot"


@dataclass(frozen=True)
class Caption:
    """A caption's words and the facts that they name, such as {"sex": "male", "expression":
    "happy"}.
    """

    text: str
    facts: dict[str, str]


def mix(canvas: Person, face: Person, share: float) -> Person:
    """Return attributes of a morph: `canvas` keeps its hair and skin, `face` contributes `share`
    (0-1) of the face.
    """
    if share < 0.35:
        return canvas
    if share > 0.65:
        return replace(face, hair=canvas.hair, hair_colour=canvas.hair_colour, skin=canvas.skin)
    sex = canvas.sex if canvas.sex == face.sex else ""
    ages = (min(canvas.ages[0], face.ages[0]), max(canvas.ages[1], face.ages[1]))
    features = canvas.features + face.features
    return replace(
        canvas,
        sex=sex,
        ages=ages,
        ethnicities=canvas.ethnicities + face.ethnicities,
        features=features,
    )


def describe(person: Person, rng: random.Random) -> Caption:
    """Return a description such as `european 38 year old female with short curly dark hair`."""
    words, facts = [], {}
    if rng.random() < 0.7:
        facts["ethnicity"] = rng.choice(person.ethnicities)
        words.append(facts["ethnicity"])
    if rng.random() < 0.7:
        age = rng.randint(*person.ages)
        facts["age"] = str(sum(age > end for end in AGE_GROUPS))
        words.append(f"{age} year old")
    nouns = {
        "male": ("male", "male", "man"),
        "female": ("female", "female", "woman"),
        "": ("person",),
    }[person.sex]
    words.append(rng.choice(nouns))
    if person.sex:
        facts["sex"] = person.sex
    details = []
    if rng.random() < 0.85:
        style = person.hair if rng.random() < 0.8 else ""
        details.append(f"{style} {person.hair_colour} hair".strip())
        facts["hair_colour"] = person.hair_colour
        if style:
            facts["hair"] = style
    if rng.random() < 0.35:
        details.append(person.skin)
        facts["skin"] = person.skin
    if person.features and rng.random() < 0.35:
        feature = rng.choice(person.features)
        details.append(feature)
        facts["feature"] = feature
    if rng.random() < 0.15:
        details.append(rng.choice(UNKNOWN))
    rng.shuffle(details)
    return Caption(" ".join(words) + (" with " + " and ".join(details) if details else ""), facts)


def caption(
    person: Person, picture: Picture, rng: random.Random, anonymous: bool = False
) -> Caption:
    """Return one caption; different draws of `rng` word the same facts differently. An anonymous
    one does not describe the person.
    """
    who = Caption("person", {}) if anonymous else describe(person, rng)
    facts = {**who.facts, "framing": picture.framing}
    plain = (picture.expression, picture.view, picture.light) == ("neutral", "front", "even")
    if plain and picture.background in ("gray", "beige") and rng.random() < 0.4:
        # The pipeline's template asks for a "gray or beige" wall: it names no single background.
        named = {"expression": "neutral"} if picture.framing == "headshot" else {}
        return Caption(
            base_prompt(who.text, picture.framing),
            {**facts, **named, "view": "front", "light": "even"},
        )
    parts = [rng.choice(LEADS[picture.framing]) + who.text]
    optional = (
        (
            "expression",
            EXPRESSIONS[picture.expression],
            0.95 if picture.expression != "neutral" else 0.7,
        ),
        (
            "view",
            VIEWS.get(picture.view, ()),
            0.0 if not picture.view else (0.5 if picture.view == "front" else 0.95),
        ),
        (
            "background",
            BACKGROUNDS[picture.background],
            0.9 if picture.background != "gray" else 0.5,
        ),
        ("light", LIGHTS[picture.light], 0.9 if picture.light != "even" else 0.4),
    )
    details = []
    for fact, wordings, probability in optional:
        if rng.random() < probability:
            details.append(rng.choice(wordings))
            facts[fact] = getattr(picture, fact)
    rng.shuffle(details)
    parts += details + ([rng.choice(QUALITY)] if rng.random() < 0.3 else [])
    return Caption(rng.choice((", ", ". ")).join(parts), facts)
