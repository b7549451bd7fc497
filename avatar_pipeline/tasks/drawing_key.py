"""Which requests can be drawn in one batch: those that differ in nothing but words and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from avatar_pipeline.tasks.draw_params import Params
from avatar_pipeline.tasks.draw_prompts import pictures


@dataclass(frozen=True)
class DrawingKey:
    """What two requests for a picture have in common when they can be drawn together. Fields as in
    Params; actor: whose LoRA draws.
    """

    preset: str
    actor: str | None
    width: int
    height: int
    steps: int | None
    guidance_scale: float | None
    negative_prompt: str


def drawing_key(task: str, params: Mapping[str, Any]) -> DrawingKey | None:
    """Return the key of a request without files; None when it is always drawn by itself: another
    task, or several pictures.
    """
    if task != "draw":
        return None
    try:
        asked = Params.model_validate(params)
    except ValidationError:  # the task itself says why
        return None
    if pictures(asked.count, asked.views, asked.expressions) > 1:
        return None
    return DrawingKey(
        asked.preset,
        asked.actor,
        asked.width,
        asked.height,
        asked.steps,
        asked.guidance_scale,
        asked.negative_prompt,
    )
