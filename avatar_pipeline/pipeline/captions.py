"""A photograph's caption, from what its face does.

What a caption names, prompts can later ask for, and the LoRA need not learn as part of the person.
"""

from __future__ import annotations

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
