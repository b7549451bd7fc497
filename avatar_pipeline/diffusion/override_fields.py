"""The fields of a preset that may be overridden, with their ranges."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.diffusion.hyperparameters import (
    DECIDED_BY_PRESET,
    optional_overrides,
    override_name,
)
from avatar_pipeline.diffusion.preset_types import SchedulerName

Size = tuple[int, int]

BASE_FIELDS = (
    "draw_with",
    "training_model",
)  # of families whose LoRAs are trained on another model
# hyperparameters of LoRA training by the name of their override
LORA_FIELDS = {override_name(name): name for name in DECIDED_BY_PRESET}


class _DrawingOverrides(BaseModel):
    """Those of the model and of drawing. Manifests list the overrides in the order of these
    classes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = Field(
        None, min_length=1, description="a diffusers folder, or a hub id as OWNER/NAME@REVISION"
    )
    revision: str | None = Field(None, min_length=1, description="commit of the hub id")
    draw_with: Literal["distilled", "base"] | None = Field(
        None, description="of a family whose LoRAs are trained on another model: which one draws"
    )
    training_model: str | None = Field(
        None,
        min_length=1,
        description="what LoRAs are trained on, of such a family: a folder, or OWNER/NAME@REVISION",
    )
    steps: int | None = Field(None, ge=1, le=150, description="denoising steps")
    guidance_scale: float | None = Field(
        None, ge=1, le=30, description="how closely pictures follow the prompt"
    )
    scheduler: SchedulerName | None = Field(
        None, description="own, dpmpp_2m_karras or euler_simple"
    )
    flow_shift: float | None = Field(
        None, ge=-3, le=3, description="exponent of the constant time shift of euler_simple"
    )
    dtype: Literal["bfloat16", "float16", "float32"] | None = Field(
        None, description="precision of the weights on CUDA"
    )
    sizes: dict[Literal["headshot", "half_body", "full_body"], Size] | None = Field(
        None, description="width and height in pixels by framing, headshot among them"
    )
    largest: int | None = Field(None, ge=256, le=4096, description="longest side in pixels")
    head_inter_eye: float | None = Field(
        None, gt=0, lt=1, description="eye distance of a head shot, share of the width"
    )
    head_eye_y: float | None = Field(
        None, gt=0, lt=1, description="height of the eyes of a head shot, share of the height"
    )


_WithLora: Any = optional_overrides(_DrawingOverrides)


class Overrides(_WithLora):
    """The fields of a preset that may be overridden, with their ranges; None leaves the table's
    value.

    What a model is (family, licence, size_multiple, parameters) is not among them.
    """

    identity_adapter: str | None = Field(
        None, description="file of the IP-Adapter in the model's folder, empty for none"
    )
    identity_analyzer: Literal["", "dlib", "insightface"] | None = Field(
        None, description="analyzer that the adapter reads"
    )
    identity_unit: float | None = Field(
        None, gt=0, le=3, description="the adapter's scale at an id_weight of 1"
    )
