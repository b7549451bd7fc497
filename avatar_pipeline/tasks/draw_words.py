"""What a request may ask for by name, and the words that say it to a model: styles, views, expressions.

Views and expressions are the Image / Avatar Agent API's own ("frontal, 3/4 view, profile", "neutral, smiling, speaking"), and those that
training_variations draws. What the embedded model makes of each was measured: docs/questions.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from avatar_pipeline.diffusion import prompts

Style = Literal["photorealistic", "studio", "cinematic", "black-and-white", "painting", "sketch"]
View = Literal["frontal", "3/4 view", "3/4 view right", "profile"]
Expression = Literal["neutral", "smiling", "speaking", "surprised", "sad", "angry", "serious"]

MOST_PICTURES = 32  # of one request: at about a second each on the embedded model, the last still comes within the client's 120 s

STYLES: dict[Style, str] = {
    "photorealistic": "photorealistic, sharp focus, high quality",
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


def pictures(count: int, views: Sequence[View], expressions: Sequence[Expression]) -> int:
    """How many pictures a request asks for."""
    return count * max(len(views), 1) * max(len(expressions), 1)


def asked(views: Sequence[View], expressions: Sequence[Expression]) -> list[tuple[View | None, Expression | None]]:
    """Every view with every expression, expressions within views; (None, None) where the prompt alone decides."""
    return [(view, expression) for view in (views or (None,)) for expression in (expressions or (None,))]
