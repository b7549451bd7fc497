"""Which way of holding a model fits a device: estimates of memory, and the plan that costs the
least time among those that fit.

Weights are exact: parameters by part (counted on the architectures themselves,
tests/unit/diffusion/test_memory.py) times bytes a parameter. Activations are counted operation by
operation on the meta device (`python -m benchmarks.full_size` prints ACTIVATIONS again), scaled by
the picture's pixels. What kernels and the allocator take beyond that is an estimate: RESERVE. No
torch is needed to plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.presets import Preset

GIB = 2**30
Offload = Literal["none", "model", "group"]
Quantise = Literal["none", "fp8", "nf4"]

BYTES = {
    "float32": 4.0,
    "bfloat16": 2.0,
    "float16": 2.0,
    "fp8": 1.0,
    "nf4": 0.5625,
}  # nf4: 4 bits, and one float32 for 64 of them
VAE_BYTES = 4.0  # the VAE stays in float32: in bfloat16 flat walls show steps
# Convolution workspaces, cuBLAS' buffers and fragments of the allocator. FLUX r=16 in bfloat16 is
# reported at 30 GB: with this reserve the estimate is 29 GB (tests/unit/diffusion/test_memory.py
# compares with every published figure we have).
RESERVE_GIB = 0.75
RESERVE_SHARE = 0.05
# group offload holds the layer that computes and the next one: T5's embedding is the largest, 0.25
# GiB
GROUP_GIB = 0.6
TILE = 512  # pixels a side of the pieces in which a VAE decodes when memory is short
OPTIMISED_BYTES = 16  # a trained parameter in float32, its gradient, and AdamW's two moments


@dataclass(frozen=True)
class Activations:
    """MiB that computing takes on top of the weights. pixels: of the picture drawn or decoded;
    training_pixels: of the one trained on.

    drawing: a denoising step in bfloat16 (two of them at once for a U-Net's guidance). decoding:
    the VAE's, in float32. training: forward and backward of one picture; checkpointed: the same
    with gradient checkpointing. lora: parameters a rank, on the targets.
    """

    pixels: int
    drawing: float
    decoding: float
    training_pixels: int
    training: float
    checkpointed: float
    lora: int


FLUX = Activations(1024 * 1536, 670, 4608, 1024 * 1024, 31215, 2435, 1_634_304)
ACTIVATIONS: dict[str, Activations] = {
    "embedded": Activations(512 * 768, 8, 18, 512 * 512, 33, 11, 61_184),
    "sd15": Activations(512 * 768, 195, 1152, 512 * 512, 1014, 246, 199_296),
    "sdxl": Activations(1024 * 1024, 315, 3072, 1024 * 1024, 7473, 554, 1_451_520),
    "flux-dev": FLUX,
    "flux-schnell": FLUX,
}


@dataclass(frozen=True)
class Plan:
    """How a pipeline is held while it draws.

    offload: none: all parts stay on the device. model: each part comes when it computes, and goes.
    group: each layer does.
    quantise: how the denoiser is stored; it computes in the preset's precision all the same.
    tiling: the VAE works piece by piece.
    needs_gib: estimated peak, reserve included. free_gib: what there was.
    """

    offload: Offload
    quantise: Quantise
    tiling: bool
    needs_gib: float
    free_gib: float

    @property
    def mode(self) -> str:
        """Its name in words, such as "fp8 + model offload, VAE in tiles"."""
        parts: list[str] = [self.quantise] if self.quantise != "none" else []
        parts += [f"{self.offload} offload"] if self.offload != "none" else []
        return (" + ".join(parts) or "all on the device") + (
            ", VAE in tiles" if self.tiling else ""
        )

    def describe(self) -> str:
        """One line for log and manifest."""
        return f"{self.mode}: about {self.needs_gib:.1f} GiB of {self.free_gib:.1f} GiB free"


@dataclass(frozen=True)
class TrainingPlan:
    """How a LoRA is trained. quantise: how the frozen denoiser is stored; it computes in bfloat16
    all the same.

    gradient_checkpointing: activations are computed again in backward, about a third slower.
    offload_text: text encoders and VAE leave the device once their outputs are cached. needs_gib:
    estimated peak of the training steps, reserve included; drawing probes needs what its own plan
    says. free_gib: what there was.
    """

    gradient_checkpointing: bool
    quantise: Quantise
    offload_text: bool
    needs_gib: float
    free_gib: float

    def describe(self) -> str:
        """One line for log and manifest."""
        parts = [f"{self.quantise} base"] if self.quantise != "none" else []
        parts += ["gradient checkpointing"] if self.gradient_checkpointing else []
        parts += ["text encoders and VAE off the device"] if self.offload_text else []
        words = ", ".join(parts) or "all on the device"
        return f"{words}: about {self.needs_gib:.1f} GiB of {self.free_gib:.1f} GiB free"


def part_gib(
    preset: Preset, quantise: Quantise = "none", dtype: str | None = None
) -> dict[str, float]:
    """GiB of weights by part of the pipeline. dtype: precision on the device, the preset's when
    None.
    """
    sizes = {}
    for part, millions in preset.parameters.items():
        kind = (
            quantise
            if quantise != "none" and part in ("unet", "transformer")
            else dtype or preset.dtype
        )
        sizes[part] = millions * 1e6 * (VAE_BYTES if part == "vae" else BYTES[kind]) / GIB
    return sizes


def drawing_gib(
    preset: Preset,
    offload: Offload,
    quantise: Quantise,
    tiling: bool,
    pixels: int | None = None,
    dtype: str | None = None,
) -> float:
    """Estimated peak in GiB of drawing one picture; pixels: its size, the preset's largest native
    one when None.
    """
    cost = ACTIVATIONS[preset.name]
    pixels = pixels or max(width * height for width, height in preset.sizes.values())
    parts = part_gib(preset, quantise, dtype)
    vae = parts.pop("vae")
    wide = BYTES[dtype or preset.dtype] / 2  # activations are counted in bfloat16
    drawing = cost.drawing / 1024 * wide * pixels / cost.pixels
    decoding = cost.decoding / 1024 * (min(pixels, TILE * TILE) if tiling else pixels) / cost.pixels
    denoiser = parts[denoiser_of(preset)]
    if offload == "none":
        peak = sum(parts.values()) + max(drawing, decoding)
    elif offload == "model":  # the denoiser has gone again when the VAE decodes
        peak = max(denoiser + drawing, decoding, *parts.values())
    else:
        peak = max(min(GROUP_GIB, sum(parts.values())) + drawing, decoding)
    return (peak + vae) * (1 + RESERVE_SHARE) + RESERVE_GIB


def drawing_plans(
    preset: Preset,
    free_gib: float,
    *,
    pixels: int | None = None,
    on_cpu: bool = False,
    nf4: bool = False,
) -> Iterator[Plan]:
    """All plans for drawing, cheapest in time first, whether they fit or not. nf4: bitsandbytes is
    installed.

    On a CPU parts cannot go anywhere else; storing the weights in 8 bits is what is left.
    """
    dtype = "float32" if on_cpu else None
    ways: list[tuple[Offload, Quantise]] = [("none", "none")]
    ways += [("none", "fp8")] if on_cpu else [("model", "none"), ("model", "fp8")]
    ways += [("model", "nf4")] if nf4 and not on_cpu else []
    ways += [] if on_cpu else [("group", "none")]
    for offload, quantise in ways:
        for tiling in (False, True):
            if tiling and not can_tile(preset):
                continue
            needs = drawing_gib(preset, offload, quantise, tiling, pixels, dtype)
            yield Plan(offload, quantise, tiling, needs, free_gib)


def drawing_plan(
    preset: Preset,
    free_gib: float,
    *,
    pixels: int | None = None,
    on_cpu: bool = False,
    nf4: bool = False,
) -> Plan:
    """The plan that costs the least time among those that fit. Raises ModelError with the numbers
    when none does.
    """
    plans = list(drawing_plans(preset, free_gib, pixels=pixels, on_cpu=on_cpu, nf4=nf4))
    fitting = next((plan for plan in plans if plan.needs_gib <= free_gib), None)
    if fitting is None:
        least = min(plans, key=lambda plan: plan.needs_gib)
        raise ModelError(
            f"preset {preset.name} does not fit: even with {least.mode} it needs about "
            f"{least.needs_gib:.1f} GiB, and "
            f"{free_gib:.1f} GiB are free. End what else uses the device, draw smaller pictures, "
            "or choose a smaller preset."
        )
    return fitting


def next_plan(preset: Preset, plan: Plan, *, on_cpu: bool = False) -> Plan | None:
    """What to step down to after an out-of-memory in `plan`; None when there is nothing left.

    A step must be possible with the pipeline as it is loaded, a LoRA in it included: what has been
    quantised stays so.
    """
    tiling = can_tile(preset)
    steps: list[tuple[Offload, Quantise]]
    if on_cpu:
        steps = [("none", "none"), ("none", "fp8")]
    elif plan.quantise != "none":
        steps = [("model", plan.quantise), ("group", plan.quantise)]
    else:
        steps = [("none", "none"), ("model", "none"), ("model", "fp8"), ("group", "none")]
    if plan.quantise == "nf4" and plan.offload == "model":
        return None  # bitsandbytes' weights cannot leave layer by layer
    for offload, quantise in steps[
        steps.index((plan.offload, plan.quantise)) + (plan.tiling or not tiling) :
    ]:
        needs = drawing_gib(preset, offload, quantise, tiling, None, "float32" if on_cpu else None)
        if needs < plan.needs_gib:
            return Plan(offload, quantise, tiling, needs, plan.free_gib)
    return None


def training_gib(
    preset: Preset,
    *,
    rank: int,
    batch_size: int,
    gradient_checkpointing: bool,
    quantise: Quantise,
    offload_text: bool,
    pixels: int | None = None,
    on_cpu: bool = False,
) -> float:
    """Estimated peak in GiB of LoRA training steps. pixels: of one picture, those of a head shot
    when None. On a CPU all is float32.
    """
    cost = ACTIVATIONS[preset.name]
    parts = part_gib(preset, quantise, "float32" if on_cpu else None)
    weights = parts[denoiser_of(preset)] if offload_text else sum(parts.values())
    pixels = pixels or preset.width * preset.height
    activations = (
        (cost.checkpointed if gradient_checkpointing else cost.training)
        / 1024
        * pixels
        / cost.training_pixels
    )
    peak = (
        weights
        + cost.lora * rank * OPTIMISED_BYTES / GIB
        + activations * batch_size * (2 if on_cpu else 1)
    )
    return peak * (1 + RESERVE_SHARE) + RESERVE_GIB


def training_plans(
    preset: Preset,
    free_gib: float,
    *,
    rank: int,
    batch_size: int,
    pixels: int | None = None,
    on_cpu: bool = False,
    nf4: bool = False,
) -> Iterator[TrainingPlan]:
    """All plans for training, cheapest in time first, whether they fit or not.

    Quantised weights come with checkpointing only: each layer's weights in bfloat16 would be kept
    for backward otherwise.
    """
    ways: list[tuple[bool, Quantise, bool]] = [
        (False, "none", False),
        (False, "none", True),
        (True, "none", True),
    ]
    ways += [(True, "fp8", True)]
    ways += [(True, "nf4", True)] if nf4 else []
    if on_cpu:  # parts cannot go anywhere else
        ways = [(False, "none", False), (True, "none", False), (True, "fp8", False)]
    for checkpointing, quantise, offload_text in ways:
        needs = training_gib(
            preset,
            rank=rank,
            batch_size=batch_size,
            gradient_checkpointing=checkpointing,
            quantise=quantise,
            offload_text=offload_text,
            pixels=pixels,
            on_cpu=on_cpu,
        )
        yield TrainingPlan(checkpointing, quantise, offload_text, needs, free_gib)


def training_plan(
    preset: Preset,
    free_gib: float,
    *,
    rank: int,
    batch_size: int,
    pixels: int | None = None,
    on_cpu: bool = False,
    nf4: bool = False,
) -> TrainingPlan:
    """The plan that costs the least time among those that fit. nf4: bitsandbytes is installed.

    Raises ModelError with the numbers when none does.
    """
    plans = list(
        training_plans(
            preset,
            free_gib,
            rank=rank,
            batch_size=batch_size,
            pixels=pixels,
            on_cpu=on_cpu,
            nf4=nf4,
        )
    )
    fitting = next((plan for plan in plans if plan.needs_gib <= free_gib), None)
    if fitting is None:
        least = min(plans, key=lambda plan: plan.needs_gib)
        hint = (
            ""
            if nf4 or on_cpu
            else " Installing bitsandbytes allows nf4, which needs about half of fp8."
        )
        raise ModelError(
            f"training a LoRA of rank {rank} in batches of {batch_size} on preset {preset.name} "
            "does not fit: even with "
            f"{replace(least, free_gib=free_gib).describe()}. Take a smaller batch_size, rank or "
            f"picture, or a smaller preset.{hint}"
        )
    return fitting


def denoiser_of(preset: Preset) -> str:
    """The part that denoises: "unet" or "transformer"."""
    return "transformer" if "transformer" in preset.parameters else "unet"


def can_tile(preset: Preset) -> bool:
    """Whether the VAE can work in tiles: the embedded model's own cannot, and is too small to need
    it.
    """
    return preset.name != "embedded"
