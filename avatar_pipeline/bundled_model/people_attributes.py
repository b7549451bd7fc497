"""What each person of openpeople looks like, in the words that prompts use.

Sex, age range and ethnicities are openpeople's own metadata; hair and features were written down
from the pictures, because the metadata's free text mixes them up (it calls a beard hair).
"""

from __future__ import annotations

from dataclasses import dataclass

# Never seen by the base model: P005 is the demo actor, P010 the second identity that evaluations
# train a LoRA on.
HELD_OUT = ("P005", "P010")


# Looks like a known actress: her face is only ever mixed with others, never drawn as it is.
MIXED_ONLY = ("P003",)


@dataclass(frozen=True)
class Person:
    """Attributes of one person: words for prompts, and an age range in years."""

    sex: str
    ages: tuple[int, int]
    ethnicities: tuple[str, ...]
    skin: str
    hair: str
    hair_colour: str
    features: tuple[str, ...]


PERSONS: dict[str, Person] = {
    "P001": Person(
        "female",
        (35, 45),
        ("north african", "middle eastern", "black"),
        "brown skin",
        "short curly",
        "black",
        ("slim face",),
    ),
    "P002": Person(
        "female",
        (35, 45),
        ("european", "middle eastern"),
        "fair skin",
        "short curly",
        "black",
        ("dark eyebrows",),
    ),
    "P003": Person(
        "female", (25, 35), ("european", "american"), "fair skin", "long wavy", "brown", ()
    ),
    "P004": Person(
        "female",
        (25, 35),
        ("australian", "middle eastern"),
        "tanned skin",
        "curly",
        "black",
        ("thick eyebrows", "freckles"),
    ),
    "P005": Person(
        "male",
        (55, 65),
        ("middle eastern", "central american"),
        "tanned skin",
        "slicked back",
        "black",
        ("full dark beard",),
    ),
    "P006": Person(
        "female",
        (35, 45),
        ("asian", "indian", "south asian"),
        "brown skin",
        "slicked back",
        "black",
        ("thick eyebrows",),
    ),
    "P007": Person(
        "male",
        (25, 35),
        ("european", "latin american", "south american"),
        "brown skin",
        "curly",
        "black",
        ("stubble", "freckles"),
    ),
    "P008": Person(
        "male",
        (35, 45),
        ("indian", "middle eastern", "european"),
        "tanned skin",
        "long straight",
        "light brown",
        ("angular jaw",),
    ),
    "P009": Person(
        "female",
        (18, 25),
        ("black", "african", "indian"),
        "dark skin",
        "long straight",
        "black",
        ("full lips",),
    ),
    "P010": Person(
        "female",
        (25, 35),
        ("latin american", "middle eastern"),
        "fair skin",
        "slicked back",
        "black",
        ("thick eyebrows",),
    ),
}

TRAINED = tuple(name for name in PERSONS if name not in HELD_OUT)
