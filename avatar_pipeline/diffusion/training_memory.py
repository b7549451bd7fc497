"""How a LoRA can be trained in the memory of a device: estimates, and the plan that costs the least
time among those that fit. Free of torch, as `diffusion.memory` is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from avatar_pipeline.diffusion.hyperparameters import Quantization
from avatar_pipeline.diffusion.memory import (
    ACTIVATIONS,
    BYTES,
    GIB,
    Activations,
    CpuPrecision,
    cheapest_fitting,
    copies_gib,
    denoiser_of,
    part_gib,
    with_reserve,
)
from avatar_pipeline.diffusion.preset_types import Preset

TRAINED_BYTES = 16  # a trained parameter in float32, its gradient, and AdamW's two moments


@dataclass(frozen=True)
class TrainingPlan:
    """How a LoRA is trained. quantization: how the frozen denoiser is stored; it computes in
    bfloat16 all the same.

    gradient_checkpointing: activations are computed again in backward, about a third slower.
    offload_text: text encoders and VAE leave the device once their outputs are cached. needs_gib:
    estimated peak of the training steps, reserve included; drawing validation images needs what its
    own plan says. free_gib: what there was.
    """

    gradient_checkpointing: bool
    quantization: Quantization
    offload_text: bool
    needs_gib: float
    free_gib: float

    def describe(self) -> str:
        """Return one line for log and manifest."""
        parts = [f"{self.quantization} base"] if self.quantization != "none" else []
        parts += ["gradient checkpointing"] if self.gradient_checkpointing else []
        parts += ["text encoders and VAE off the device"] if self.offload_text else []
        words = ", ".join(parts) or "all on the device"
        return f"{words}: about {self.needs_gib:.1f} GiB of {self.free_gib:.1f} GiB free"


def training_gib(
    preset: Preset,
    *,
    rank: int,
    batch_size: int,
    gradient_checkpointing: bool,
    quantization: Quantization,
    offload_text: bool,
    cpu: CpuPrecision | None = None,
) -> float:
    """Return the estimated peak in GiB of LoRA training steps on head shots. cpu: on a CPU, what
    it computes in.
    """
    cost = ACTIVATIONS[preset.name]
    parts = part_gib(preset, quantization, cpu)
    weights = parts[denoiser_of(preset)] if offload_text else sum(parts.values())
    activations = (
        (cost.checkpointed if gradient_checkpointing else cost.training)
        / 1024
        * (preset.width * preset.height)
        / cost.training_pixels
    )
    peak = weights + cost.lora * rank * TRAINED_BYTES / GIB
    if cpu is None:
        return with_reserve(peak + activations * batch_size, cpu)
    if not gradient_checkpointing:
        # the backward pass needs each layer's weights as it computed with them
        peak += copies_gib(preset, quantization, cpu)
    wide = BYTES[cpu] / 2  # activations are counted in bfloat16
    # as many numbers as the square of the tokens
    size = preset.width * preset.height / cost.training_pixels
    maps = _attention_maps_gib(cost, cpu) * size**2
    return with_reserve(peak + (activations * wide + maps) * batch_size, cpu)


def _attention_maps_gib(cost: Activations, cpu: CpuPrecision) -> float:
    """GiB of attention's weights and their gradients in a CPU's backward pass of one picture: a
    U-Net's own (training/attention.py) makes both, one attention at a time.
    """
    return 2 * cost.attention_map / 1024 * BYTES[cpu] / 2


def training_plans(
    preset: Preset,
    free_gib: float,
    *,
    rank: int,
    batch_size: int,
    cpu: CpuPrecision | None = None,
    nf4: bool = False,
) -> Iterator[TrainingPlan]:
    """Return all plans for training, cheapest in time first, whether they fit or not.

    Quantized weights come with checkpointing only: each layer's weights in bfloat16 would be kept
    for backward otherwise.
    """
    ways: list[tuple[bool, Quantization, bool]] = [
        (False, "none", False),
        (False, "none", True),
        (True, "none", True),
    ]
    ways += [(True, "fp8", True)]
    ways += [(True, "nf4", True)] if nf4 else []
    if cpu:  # parts cannot go anywhere else
        ways = [(False, "none", False), (True, "none", False), (True, "fp8", False)]
    for checkpointing, quantization, offload_text in ways:
        needs = training_gib(
            preset,
            rank=rank,
            batch_size=batch_size,
            gradient_checkpointing=checkpointing,
            quantization=quantization,
            offload_text=offload_text,
            cpu=cpu,
        )
        yield TrainingPlan(checkpointing, quantization, offload_text, needs, free_gib)


def training_plan(
    preset: Preset,
    free_gib: float,
    *,
    rank: int,
    batch_size: int,
    cpu: CpuPrecision | None = None,
    nf4: bool = False,
) -> TrainingPlan:
    """Return the plan that costs the least time among those that fit. nf4: bitsandbytes is
    installed.

    Raises ModelError with the numbers when none does.
    """
    plans = training_plans(preset, free_gib, rank=rank, batch_size=batch_size, cpu=cpu, nf4=nf4)

    def refusal(least: TrainingPlan) -> str:
        hint = (
            ""
            if nf4 or cpu
            else " Installing bitsandbytes allows nf4, which needs about half of fp8."
        )
        return (
            f"training a LoRA of rank {rank} in batches of {batch_size} on preset {preset.name} "
            "does not fit: even with "
            f"{least.describe()}. Take a smaller batch_size, rank or "
            f"picture, or a smaller preset.{hint}"
        )

    return cheapest_fitting(list(plans), refusal)
