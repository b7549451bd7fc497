"""The settings of the stage training_variations: how many variations, and how far from the
photographs they may be.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LARGEST_SCALE = 1.5  # of a variation: beyond it the identity drowns the prompt


class Settings(BaseModel):
    """How the training set is made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variations: int = Field(
        24,
        ge=0,
        le=400,
        description="variations to generate; those that lose the person are rejected",
    )
    few_photographs: Literal["auto", "portrait", "draw"] = Field(
        "auto",
        description="of 1 to 4 photographs: portrait: no LoRA is trained; draw: a training set is "
        "drawn from them, and all of them are held out; auto: draw where the model reads reference "
        "photographs",
    )
    strength: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="how far a variation may leave its source; None: 0.2 from photographs, 0.7 "
        "from a generated base, 0.4 from few photographs, 1 where the model reads them as "
        "references",
    )
    identity_scale: float = Field(
        0.8,
        ge=0,
        le=LARGEST_SCALE,
        description="how strongly the face of its source steers a variation, where the model "
        "takes the analyzer's faces; 0: not at all",
    )
    steps: int | None = Field(
        None, ge=1, le=150, description="denoising steps of a variation; None: the preset's"
    )
    guidance_scale: float | None = Field(
        None, ge=1, le=30, description="how closely a variation follows its prompt"
    )
    max_distance: float | None = Field(
        None,
        gt=0,
        le=2,
        description="largest identity distance of a variation to the person; None: the person's "
        "own limit, from photo_intake",
    )
    generated_share: float = Field(
        0.2, ge=0, le=1, description="largest share of generated pictures beside photographs"
    )
