"""What a preset is: everything that differs between base models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avatar_pipeline.diffusion.families import FamilyName
from avatar_pipeline.diffusion.hyperparameters import LoraHyperparameters

# own: as the model's folder says. dpmpp_2m_karras: DPM-Solver++ 2M on Karras' noise levels.
# euler_simple: Euler steps of a flow model, noise levels evenly spaced and shifted by a constant,
# as ComfyUI's sampler "euler" with the scheduler "simple".
SchedulerName = Literal["own", "dpmpp_2m_karras", "euler_simple"]


# "": the family has no distilled model that is trained on another one.
DrawWith = Literal["", "distilled", "base"]


REFERENCE_FAMILIES: tuple[FamilyName, ...] = ("flux2",)


@dataclass(frozen=True)
class TrainingBase:
    """The undistilled model that LoRAs are trained on, to be used on the distilled one.

    model, model_id, revision: as those of a preset. steps, guidance_scale: what it draws well with.
    """

    model: str
    model_id: str
    revision: str
    steps: int
    guidance_scale: float


@dataclass(frozen=True)
class Preset:
    """Everything that differs between base models.

    model: a diffusers folder, or a model id of the Hugging Face hub, of which `revision` is the
    commit. accept: what its licence asks a user to accept first; empty when there is nothing.
    parameters: millions of weights by part of the pipeline.
    scheduler, flow_shift: how noise levels are stepped through; flow_shift is the exponent mu of
    FLUX's time shift. `sizes` gives the width and height in pixels at which each framing is drawn;
    `width` and `height` are those of a head shot. `head_inter_eye` (share of the width) and
    `head_eye_y` (share of the height) say where the model draws the eyes of a head shot. `lora` is
    how a LoRA is trained on 10-20 photographs. `identity_adapter` is the model folder's IP-Adapter,
    and `identity_analyzer` the analyzer whose embeddings it reads; both are empty where there is
    none, the analyzer's name alone where any will do. `identity_unit` is the adapter's scale at an
    `id_weight` of 1. `base`: what LoRAs are trained on, None for the model itself; `draw_with` says
    which of the two draws.
    """

    name: str
    family: FamilyName
    model: str
    model_id: str
    revision: str
    licence: str
    parameters: dict[str, float]
    sizes: dict[str, tuple[int, int]]
    size_multiple: int
    largest: int
    steps: int
    guidance_scale: float
    lora: LoraHyperparameters
    accept: str = ""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    scheduler: SchedulerName = "own"
    flow_shift: float = 0.0
    head_inter_eye: float = 104 / 512
    head_eye_y: float = 240 / 512
    identity_adapter: str = ""
    identity_analyzer: str = ""
    identity_unit: float = 1.0
    base: TrainingBase | None = None
    draw_with: DrawWith = ""

    @property
    def takes_references(self) -> bool:
        """Whether the model reads reference photographs as an identity: no adapter is needed."""
        return self.family in REFERENCE_FAMILIES

    @property
    def framings(self) -> tuple[str, ...]:
        """The framings that the model can draw."""
        return tuple(self.sizes)

    @property
    def width(self) -> int:
        """Width of a head shot in pixels."""
        return self.sizes["headshot"][0]

    @property
    def height(self) -> int:
        """Height of a head shot in pixels."""
        return self.sizes["headshot"][1]
