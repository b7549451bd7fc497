"""What a request may ask for by name, and the words that say it to a model: styles, views,
expressions.

Views and expressions are the Image / Avatar Agent API's own ("frontal, 3/4 view, profile",
"neutral, smiling, speaking"), and those that training_variations draws. What the embedded model
makes of each was measured: docs/questions.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from avatar_pipeline.diffusion import prompts

Style = Literal["photorealistic", "studio", "cinematic", "black-and-white", "painting", "sketch"]
View = Literal["frontal", "3/4 view", "3/4 view right", "profile"]
Expression = Literal["neutral", "smiling", "speaking", "surprised", "sad", "angry", "serious"]

# of one request: at about a second each on the embedded model, the last still comes within the
# client's 120 s
MOST_PICTURES = 32

STYLES: dict[Style, str] = {
    "photorealistic": "sharp focus, high quality, photorealistic",
    "studio": "studio lighting, neutral gray studio background",
    "cinematic": "cinematic lighting, film still, shallow depth of field",
    "black-and-white": "black and white photograph",
    "painting": "oil painting, visible brush strokes",
    "sketch": "pencil sketch",
}
VIEWS: dict[View, str] = {
    "frontal": "frontal view",
    "3/4 view": f"{prompts.VIEWS[0]}, three-quarter view",
    "3/4 view right": f"{prompts.VIEWS[1]}, three-quarter view",
    "profile": "profile view, seen from the side",
}
EXPRESSIONS: dict[Expression, str] = {
    "neutral": prompts.NEUTRAL,
    "smiling": "smiling",
    "speaking": "speaking, mouth open",
    "surprised": "surprised expression",
    "sad": "sad expression",
    "angry": "angry expression",
    "serious": "serious expression",
}

# The embedded model knows its captions' words only (bundled_model/captions.py). It draws
# photographs: words of other styles only disturb the face ("cinematic" made it grin), so they are
# left out. "speaking" says nothing to it, "surprised" opens the mouth, with raised brows.
EMBEDDED = "embedded"
EMBEDDED_STYLES: tuple[Style, ...] = ("photorealistic", "studio")
EMBEDDED_SPEAKING = "neutral expression, surprised, mouth open"

# Parts of a prompt, between commas, that say how the head is turned, or what it expresses: what is
# asked for by name replaces them.
_VIEW_PART = re.compile(
    r"((near-)?front(al)?|profile|side|3/4|three[- ]quarter)( view)?|head turned "
    r"(left|right)|facing (the )?camera",
    re.IGNORECASE,
)
_EXPRESSION_PART = re.compile(
    r"(neutral|smiling|speaking|happy|surprised|sad|angry|serious)( (facial )?expression)?|mouth "
    r"(closed|open)|eyes open",
    re.IGNORECASE,
)


def pictures(count: int, views: Sequence[View], expressions: Sequence[Expression]) -> int:
    """How many pictures a request asks for."""
    return count * max(len(views), 1) * max(len(expressions), 1)


def asked(
    views: Sequence[View], expressions: Sequence[Expression]
) -> list[tuple[View | None, Expression | None]]:
    """Every view with every expression, expressions within views; None where the prompt alone
    decides.
    """
    return [
        (view, expression) for view in (views or (None,)) for expression in (expressions or (None,))
    ]


def compose(
    prompt: str, style: Style | None, view: View | None, expression: Expression | None, preset: str
) -> str:
    """The prompt of one picture. View and expression replace what the prompt says of them; the
    style comes last.
    """
    parts = [part.strip() for part in prompt.split(",")]
    if view is not None:
        parts = [*(part for part in parts if not _VIEW_PART.fullmatch(part)), VIEWS[view]]
    if expression is not None:
        words = (
            EMBEDDED_SPEAKING
            if preset == EMBEDDED and expression == "speaking"
            else EXPRESSIONS[expression]
        )
        parts = [*(part for part in parts if not _EXPRESSION_PART.fullmatch(part)), words]
    if style is not None and (preset != EMBEDDED or style in EMBEDDED_STYLES):
        parts.append(STYLES[style])
    return ", ".join(part for part in parts if part)


def cannot(preset: str, style: Style | None) -> list[str]:
    """What the model is known not to draw, in words."""
    if preset == EMBEDDED and style is not None and style not in EMBEDDED_STYLES:
        known = ", ".join(EMBEDDED_STYLES)
        return [
            f"style: the embedded model draws photographs only ({known}); {style!r} was left "
            "out of the prompt."
        ]
    return []
