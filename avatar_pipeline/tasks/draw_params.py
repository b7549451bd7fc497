"""What is to be drawn: the parameters of a request, and the single pictures that it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from avatar_pipeline.core.seeds import SEED_LIMIT, derive_seed
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.tasks.draw_prompts import (
    MOST_PICTURES,
    Expression,
    Style,
    View,
    asked,
    compose,
    pictures,
)
from avatar_pipeline.tasks.likeness import Likeness


class Params(BaseModel):
    """What to draw. Sizes are those of the finished picture: what the preset cannot draw at once is
    drawn smaller and enlarged.

    With the file `face` the person of that picture is drawn, by the preset's identity adapter.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str = Field(min_length=1, max_length=4000)
    style: Style | None = Field(None, description="words that are added to the prompt")
    negative_prompt: str = Field("", max_length=4000)
    width: int = Field(1024, ge=64, le=2048, description="pixels")
    height: int = Field(1024, ge=64, le=2048, description="pixels")
    steps: int | None = Field(None, ge=1, le=150, description="denoising steps; None: the preset's")
    guidance_scale: float | None = Field(None, ge=1, le=30)
    seed: int = Field(ge=0, lt=SEED_LIMIT)
    count: int = Field(1, ge=1, le=8, description="pictures for each view and expression")
    views: list[View] = Field([], description="pictures of each; none: as the prompt says")
    expressions: list[Expression] = Field(
        [], description="pictures of each, in every view; none: as the prompt says"
    )
    actor: str | None = Field(
        None,
        description="whose LoRA draws, when there is one; else the actor's description is drawn",
    )
    id_weight: float = Field(1.0, ge=0, le=3)
    id_timestep_start: int = Field(0, ge=0)
    preset: str = "embedded"
    format: Literal["png", "jpg", "webp"] = "png"
    remove_background: bool = False
    bg_color: str | None = Field(None, pattern=r"^#[0-9A-Fa-f]{6}$")
    face_required: bool = Field(False, description="whether a picture without a face is an error")
    attempts: int = Field(
        1,
        ge=1,
        le=8,
        description="how often a picture without a face is drawn again, with another seed",
    )

    @model_validator(mode="after")
    def _drawable(self) -> Params:
        if pictures(self.count, self.views, self.expressions) > MOST_PICTURES:
            raise ValueError(
                f"count x views x expressions: {MOST_PICTURES} pictures are the most "
                "for one request"
            )
        if self.remove_background and self.format == "jpg" and self.bg_color is None:
            raise ValueError(
                "remove_background: a jpg has no transparency; ask for png or webp, "
                "or give bg_color"
            )
        return self


@dataclass(frozen=True)
class Wish:
    """One picture that is asked for."""

    prompt: str
    seed: int
    view: View | None
    expression: Expression | None


def wishes_of(params: Params, likeness: Likeness, preset: Preset) -> list[Wish]:
    """Return the pictures asked for, in the order of the answer. Views and expressions of one count
    share the seed: they show one person as far as the model can.
    """
    seeds = [
        params.seed,
        *(derive_seed(params.seed, "draw", index) for index in range(1, params.count)),
    ]
    return [
        Wish(
            compose(likeness.prompt, params.style, view, expression, preset.name),
            seed,
            view,
            expression,
        )
        for seed in seeds
        for view, expression in asked(params.views, params.expressions)
    ]
