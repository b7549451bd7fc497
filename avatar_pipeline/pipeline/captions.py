"""A photograph's caption, from what its face does, or from the caption file beside it.

What a caption names, prompts can later ask for, and the LoRA need not learn as part of the person.
"""

from __future__ import annotations

import re

from avatar_pipeline.diffusion import prompts
from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.faces.expressions import Expression, expressions

TURNED = 15.0  # degrees of yaw from which a caption says so

WORDS: dict[Expression, str] = {
    "smiling": prompts.EXPRESSIONS[0],
    "mouth open": "mouth open",
    "eyes closed": "eyes closed",
}


def caption_details(face: Face) -> tuple[str, ...]:
    """The words for expression and view, to put behind the description."""
    shown = expressions(face.landmarks68)
    details = [words for expression, words in WORDS.items() if expression in shown] or [
        "neutral expression"
    ]
    if abs(face.pose.yaw) > TURNED:
        left, right = prompts.VIEWS
        details.append(right if face.pose.yaw > 0 else left)
    return tuple(details)


def photograph_caption(
    description: str, details: tuple[str, ...], own: str = "", name: str = ""
) -> str:
    """The caption that a photograph is trained with: the trigger, the description, and details.

    own: what its caption file says, in place of the details. It need not know the trigger: the
    words for the person in the name of a kohya folder ("10_sks woman/a.png"), or the first of them,
    become trigger and description; where they are missing, these come before it. name: the
    photograph's, with its folder.
    """
    who = f"{prompts.TRIGGER} {description}".strip().rstrip(".")
    if not own:
        return prompts.portrait_prompt(description, *details, trigger=True)
    if _words(prompts.TRIGGER).search(own):
        return own  # it names the person by the word that prompts use
    folder, slash, _ = name.rpartition("/")
    phrase = folder.partition("_")[2].strip() if slash else ""
    for words in (phrase, phrase.partition(" ")[0] if " " in phrase else ""):
        if words and _words(words).search(own):
            return _words(words).sub(lambda found: who, own)
    return prompts.portrait_prompt(description, own, trigger=True)


def _words(text: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(text)}(?!\w)", re.IGNORECASE)
