"""Who and what the evaluation asks for: prompts over all attributes that the captions know, drawn
with fixed seeds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from avatar_pipeline.bundled_model import captions
from avatar_pipeline.bundled_model.people_attributes import PERSONS, TRAINED
from avatar_pipeline.diffusion.prompts import base_prompt, portrait_prompt

SEXES = ("female", "male")
AGES = (
    min(PERSONS[name].ages[0] for name in TRAINED),
    max(PERSONS[name].ages[1] for name in TRAINED),
)
ETHNICITIES = tuple(sorted({word for name in TRAINED for word in PERSONS[name].ethnicities}))
COLOURS = ("black", "brown", "light brown")
# Style and colour: everyone's own, and brown for the black-haired, whose hair the training set
# recolours.
HAIRS = tuple(
    sorted(
        {
            (PERSONS[name].hair, colour)
            for name in TRAINED
            for colour in (PERSONS[name].hair_colour, "brown")
        }
    )
)
NEUTRAL, SMILING, SURPRISED = (
    captions.EXPRESSIONS[key][0] for key in ("neutral", "happy", "surprised")
)
# P003 resembles a known actress: her description is not asked for as a whole.
TOO_ALIKE = {
    ("female", word, PERSONS["P003"].hair, PERSONS["P003"].hair_colour)
    for word in PERSONS["P003"].ethnicities
}


@dataclass(frozen=True)
class Subject:
    """A person to ask for, who need not be one of the training people."""

    sex: str
    age: int
    ethnicity: str
    hair: str
    colour: str

    def __str__(self) -> str:
        return (
            f"{self.ethnicity} {self.age} year old {self.sex} with {self.hair} {self.colour} hair"
        )


@dataclass(frozen=True)
class Request:
    """A picture to draw. label: the short prompt for people who look at it."""

    prompt: str
    seed: int
    framing: str = "headshot"
    label: str = ""


def draw_subject(
    rng: random.Random,
    sex: str | None = None,
    hair: tuple[str, str] | None = None,
    age: int | None = None,
) -> Subject:
    """Return a subject with the attributes given, the others drawn independently of each other."""
    sex = sex or rng.choice(SEXES)
    style, colour = hair or rng.choice(HAIRS)
    age = age or rng.randint(*AGES)
    known = [word for word in ETHNICITIES if (sex, word, style, colour) not in TOO_ALIKE]
    return Subject(sex, age, rng.choice(known), style, colour)


def all_attributes(count: int, seed: int) -> list[Request]:
    """Return head shots over everything: sex, age, ethnicity, hair, the 16 expressions, three
    views, lights and backgrounds.
    """
    rng = random.Random(seed)
    requests = []
    for index in range(count):
        subject = draw_subject(rng, sex=SEXES[index % 2])
        tables = (captions.EXPRESSIONS, captions.VIEWS, captions.LIGHTS, captions.BACKGROUNDS)
        details = [words[rng.choice(list(words))][0] for words in tables]
        # Few prompts name everything: as in the captions, light and background are left out half of
        # the time.
        details = [*details[:2], *(text for text in details[2:] if rng.random() < 0.5)]
        label = ", ".join((str(subject), *details))
        requests.append(
            Request(portrait_prompt(str(subject), *details), rng.getrandbits(32), "headshot", label)
        )
    return requests


def head_shot(subject: Subject | str, seed: int, *details: str) -> Request:
    """Return a head shot before the grey wall, with `details` such as an expression and a view."""
    words = (*details, captions.BACKGROUNDS["gray"][0])
    return Request(
        portrait_prompt(str(subject), *words), seed, "headshot", ", ".join((str(subject), *words))
    )


def sex_and_hair(rounds: int, seed: int) -> list[tuple[Subject, Request]]:
    """Return neutral head shots: both sexes x three hair colours x three ages, `rounds` times with
    other hair styles and seeds.
    """
    rng = random.Random(seed)
    asked = []
    for index in range(rounds):
        for sex in SEXES:
            for colour in COLOURS:
                hairs = [hair for hair in HAIRS if hair[1] == colour]
                for step in range(3):
                    age = AGES[0] + round((AGES[1] - AGES[0]) * (step + 0.5) / 3)
                    subject = draw_subject(rng, sex, hairs[(index + step) % len(hairs)], age)
                    asked.append(
                        (
                            subject,
                            head_shot(
                                subject, rng.getrandbits(32), NEUTRAL, captions.VIEWS["front"][0]
                            ),
                        )
                    )
    return asked


def body(subject: Subject, framing: str, seed: int) -> Request:
    """Return a half-body or full-body picture with the pipeline's own base prompt."""
    return Request(
        base_prompt(str(subject), framing), seed, framing, f"{framing.replace('_', ' ')}: {subject}"
    )
