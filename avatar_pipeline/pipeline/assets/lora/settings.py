"""The settings of the stage lora: the hyperparameters that a run may change, and how many pictures
are rendered to score the training.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.diffusion.hyperparameters import optional_settings


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# The model's own: a run or an actor changes them as overrides of the preset.
_OF_THE_MODEL = ("targets", "timestep_mean", "timestep_spread", "timestep_uniform")
_LoraSettings: Any = optional_settings(_Settings, left_out=_OF_THE_MODEL)


class Settings(_LoraSettings):
    """How the LoRA is trained; None takes the preset's default for 10-20 photographs."""

    validation_images: int = Field(6, ge=1, le=64, description="pictures rendered per evaluation")
    final_renders: int = Field(
        12,
        ge=1,
        le=200,
        description="pictures rendered without and with the finished LoRA, to score it",
    )
