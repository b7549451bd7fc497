"""Described actors, each in words of its own, and the demo actor."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from rows._sides import Side

ORIGINS = ("european", "indian", "black", "middle-eastern", "east asian")
HAIR = ("short brown hair", "long straight dark hair", "curly red hair", "grey hair")
EYES = ("blue eyes", "brown eyes", "green eyes")


def description(number: int) -> str:
    """Words for a person; different for each number below 60."""
    age, gender = 22 + number, ("male", "female")[number % 2]
    origin, hair, eyes = (words[number % len(words)] for words in (ORIGINS, HAIR, EYES))
    return f"{origin} {age} year old {gender} with {hair} and {eyes}"


def described(place: Path, count: int) -> list[str]:
    """Make the folders of `count` actors in the store below `place`; return their names."""
    names = [f"actor_{number:02d}" for number in range(count)]
    for number, name in enumerate(names):
        write(place, name, description=description(number), seed=number)
    return names


def write(place: Path, name: str, **facts: object) -> None:
    """Make the folder of a synthetic actor, a head shot; JSON is YAML."""
    folder = place / "actors" / name
    folder.mkdir(parents=True)
    (folder / "actor.yaml").write_text(
        json.dumps({"likeness": "synthetic", "framing": "headshot"} | facts)
    )


def demo(side: Side, place: Path) -> None:
    """Copy the demo actor, as it comes with the checkout."""
    folder = place / "actors" / "demo"
    folder.mkdir(parents=True)
    shutil.copy(side.folder / "data" / "actors" / "demo" / "actor.yaml", folder)
