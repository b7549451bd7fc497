"""The words that pictures are asked for with."""

from __future__ import annotations

# full_body is the base-image template of the Base Image Generation API, to the letter; the other
# two keep its sentences where they still hold for less of the body.
BASE_PROMPTS: dict[str, str] = {
    "full_body": (
        "Professional full-body studio portrait photograph of a {description}.\n"
        "Standing pose, facing camera, centered in frame.\n"
        "Neutral gray or beige studio background with professional lighting.\n"
        "Natural relaxed pose with arms at sides or casually positioned.\n"
        "Sharp focus, high quality, photorealistic.\n"
        "Full body visible from head to toe.\n"
        "Casual to semi-formal attire appropriate for the character.\n"
        "Direct eye contact with camera or slight angle.\n"
        "Clean composition, no distracting elements."
    ),
    "half_body": (
        "Professional half-body studio portrait photograph of a {description}.\n"
        "Facing camera, centered in frame.\n"
        "Neutral gray or beige studio background with professional lighting.\n"
        "Natural relaxed pose with arms at sides or casually positioned.\n"
        "Sharp focus, high quality, photorealistic.\n"
        "Upper body visible from head to waist.\n"
        "Casual to semi-formal attire appropriate for the character.\n"
        "Direct eye contact with camera or slight angle.\n"
        "Clean composition, no distracting elements."
    ),
    "headshot": (
        "Professional headshot studio portrait photograph of a {description}.\n"
        "Frontal view, facing camera, centered in frame.\n"
        "Neutral gray or beige studio background with professional lighting.\n"
        "Neutral expression, mouth closed, eyes open.\n"
        "Sharp focus, high quality, photorealistic.\n"
        "Head and shoulders visible.\n"
        "Direct eye contact with camera.\n"
        "Clean composition, no distracting elements."
    ),
}

# What LivePortrait animates best, and what keeps a smile from bringing the background of the
# smiling training pictures along.
STUDIO = "neutral gray studio background"
NEUTRAL = "neutral expression, mouth closed, eyes open"
EXPRESSIONS = (
    "smiling",
    "surprised expression",
    "sad expression",
    "angry expression",
    "serious expression",
)
VIEWS = ("head turned left", "head turned right")
LIGHTS = ("bright light", "dim light", "warm light", "cool light")
BACKGROUNDS = ("beige studio background", "dark background", "blue background")

# A word that means nothing to any text encoder, so that the LoRA can give it one meaning: this
# person.
TRIGGER = "ohwx"


def base_prompt(description: str, framing: str) -> str:
    """The prompt of an actor's base image; `framing` is full_body, half_body or headshot."""
    return BASE_PROMPTS[framing].format(description=description.strip().rstrip("."))


def portrait_prompt(description: str, *details: str, trigger: bool = False) -> str:
    """A short head-shot prompt: who, then details such as an expression, a view, a light, a
    background.

    With `trigger` the person is the one that a LoRA was trained on.
    """
    who = f"{TRIGGER} {description}" if trigger else description
    return ", ".join((f"headshot portrait photograph of a {who.strip().rstrip('.')}", *details))
