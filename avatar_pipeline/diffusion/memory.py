"""Which way of holding a model fits a device: estimates of memory, and the plan that costs the
least time among those that fit.

Weights are exact: parameters by part (counted on the architectures themselves,
tests/unit/diffusion/test_memory.py) times bytes a parameter. Activations are counted operation by
operation on the meta device (`python -m benchmarks.full_size` prints ACTIVATIONS again), scaled by
the picture's pixels. What kernels and the allocator take beyond that is an estimate: RESERVE. No
torch is needed to plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.hyperparameters import Quantization
from avatar_pipeline.diffusion.preset_types import Preset

GIB = 2**30
Offload = Literal["none", "model", "group"]
# what the heavy layers of a CPU compute in, whose weights are stored in float32
CpuPrecision = Literal["float32", "bfloat16"]

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
# There are no such buffers on a CPU (benchmarks/README.md, full_size_on_cpu.py, has what is taken).
CPU_RESERVE_GIB = 0.25
# group offload holds the layer that computes and the next one: T5's embedding is the largest, 0.25
# GiB
GROUP_GIB = 0.6
TILE = 512  # pixels a side of the pieces in which a VAE decodes when memory is short


@dataclass(frozen=True)
class Activations:
    """MiB that computing takes on top of the weights. pixels: of the picture drawn or decoded;
    training_pixels: of the one trained on.

    denoising: a step in bfloat16 (two pictures at once for the guidance of a U-Net and of Z-Image).
    vae_decode: in float32. training: forward and backward of one picture; checkpointed: the same
    with gradient checkpointing. lora: parameters a rank, on the targets. attention_map: the weights
    of a U-Net's largest attention of one picture trained on, in bfloat16, which only a CPU's
    backward pass has as a whole (training/attention.py); 0 for transformers.
    """

    pixels: int
    denoising: float
    vae_decode: float
    training_pixels: int
    training: float
    checkpointed: float
    lora: int
    attention_map: float = 0


FLUX = Activations(1024 * 1536, 670, 4608, 1024 * 1024, 31215, 2435, 1_634_304)
ACTIVATIONS: dict[str, Activations] = {
    "embedded": Activations(512 * 768, 8, 45, 512 * 512, 33, 11, 61_184, 1),
    "sd15": Activations(512 * 768, 195, 1152, 512 * 512, 1014, 246, 199_296, 256),
    "sdxl": Activations(1024 * 1024, 315, 3072, 1024 * 1024, 7473, 554, 1_451_520, 320),
    "flux-dev": FLUX,
    "flux-schnell": FLUX,
    "flux2-klein": Activations(1024 * 1536, 835, 4611, 1024 * 1024, 20376, 2003, 1_167_360),
    "flux2-klein-9b": Activations(1024 * 1536, 1109, 4611, 1024 * 1024, 34413, 2921, 1_998_848),
    "z-image": Activations(1024 * 1536, 1541, 4608, 1024 * 1024, 41304, 2640, 1_044_480),
    "qwen-image": Activations(1328 * 1328, 627, 11634, 1328 * 1328, 62951, 4049, 2_949_120),
}


@dataclass(frozen=True)
class Plan:
    """How a pipeline is held while it draws.

    offload: none: all parts stay on the device. model: each part comes when it computes, and goes.
    group: each layer does.
    quantization: how the denoiser is stored; it computes in the preset's precision all the same.
    tiling: the VAE works piece by piece.
    needs_gib: estimated peak, reserve included. free_gib: what there was.
    """

    offload: Offload
    quantization: Quantization
    tiling: bool
    needs_gib: float
    free_gib: float

    @property
    def mode(self) -> str:
        """Its name in words, such as "fp8 + model offload, VAE in tiles"."""
        parts: list[str] = [self.quantization] if self.quantization != "none" else []
        parts += [f"{self.offload} offload"] if self.offload != "none" else []
        return (" + ".join(parts) or "all on the device") + (
            ", VAE in tiles" if self.tiling else ""
        )

    def describe(self) -> str:
        """Return one line for log and manifest."""
        return f"{self.mode}: about {self.needs_gib:.1f} GiB of {self.free_gib:.1f} GiB free"


class Estimate(Protocol):
    """What every plan says, in GiB: its estimated peak, and what was free."""

    @property
    def needs_gib(self) -> float: ...

    @property
    def free_gib(self) -> float: ...


AnyPlan = TypeVar("AnyPlan", bound=Estimate)


def part_gib(
    preset: Preset, quantization: Quantization = "none", cpu: CpuPrecision | None = None
) -> dict[str, float]:
    """GiB of weights by part of the pipeline, on a GPU when `cpu` is None."""
    dtype = "float32" if cpu else preset.dtype
    sizes = {}
    for part, millions in preset.parameters.items():
        kind = quantization if quantization != "none" and part in ("unet", "transformer") else dtype
        sizes[part] = millions * 1e6 * (VAE_BYTES if part == "vae" else BYTES[kind]) / GIB
    return sizes


def inference_gib(
    preset: Preset,
    offload: Offload,
    quantization: Quantization,
    tiling: bool,
    pixels: int | None = None,
    cpu: CpuPrecision | None = None,
) -> float:
    """Estimated peak in GiB of drawing one picture; pixels: its size, the preset's largest native
    one when None. cpu: on a CPU, what it computes in.
    """
    cost = ACTIVATIONS[preset.name]
    pixels = pixels or max(width * height for width, height in preset.sizes.values())
    parts = part_gib(preset, quantization, cpu)
    vae = parts.pop("vae")
    wide = BYTES[cpu or preset.dtype] / 2  # activations are counted in bfloat16
    denoising = cost.denoising / 1024 * wide * pixels / cost.pixels
    vae_decode = (
        cost.vae_decode / 1024 * (min(pixels, TILE * TILE) if tiling else pixels) / cost.pixels
    )
    denoiser = parts[denoiser_of(preset)]
    if offload == "none":
        copies = copies_gib(preset, quantization, cpu)
        peak = sum(parts.values()) + max(copies + denoising, vae_decode)
        if cpu:  # what is stored in 8 bits has been loaded in full
            peak = max(peak, sum(part_gib(preset, cpu=cpu).values()) - vae)
    elif offload == "model":  # the denoiser has gone again when the VAE decodes
        peak = max(denoiser + denoising, vae_decode, *parts.values())
    else:
        peak = max(min(GROUP_GIB, sum(parts.values())) + denoising, vae_decode)
    return with_reserve(peak + vae, cpu)


def copies_gib(preset: Preset, quantization: Quantization, cpu: CpuPrecision | None) -> float:
    """GiB of the copies in bfloat16 of a denoiser's weights that autocast keeps on a CPU."""
    if cpu != "bfloat16" or quantization != "none":
        return 0.0
    return preset.parameters[denoiser_of(preset)] * 1e6 * BYTES[cpu] / GIB


def with_reserve(peak: float, cpu: CpuPrecision | None) -> float:
    """Return what is counted, and what is taken beyond that."""
    return peak * (1 + RESERVE_SHARE) + (CPU_RESERVE_GIB if cpu else RESERVE_GIB)


def more_pictures(preset: Preset, plan: Plan, pixels: int) -> int:
    """Return how many pictures of `pixels` can be drawn beside one in the memory that `plan` leaves
    free.
    """
    cost = ACTIVATIONS[preset.name]
    wide = BYTES[preset.dtype] / 2  # activations are counted in bfloat16
    each = cost.denoising / 1024 * wide * pixels / cost.pixels * (1 + RESERVE_SHARE)
    return max(0, int((plan.free_gib - plan.needs_gib) / each))


def inference_plans(
    preset: Preset,
    free_gib: float,
    *,
    pixels: int | None = None,
    cpu: CpuPrecision | None = None,
    nf4: bool = False,
) -> Iterator[Plan]:
    """Return all plans for drawing, cheapest in time first, whether they fit or not. nf4:
    bitsandbytes is installed.

    On a CPU parts cannot go anywhere else; storing the weights in 8 bits is what is left.
    """
    ways: list[tuple[Offload, Quantization]] = [("none", "none")]
    ways += [("none", "fp8")] if cpu else [("model", "none"), ("model", "fp8")]
    ways += [("model", "nf4")] if nf4 and not cpu else []
    ways += [] if cpu else [("group", "none")]
    for offload, quantization in ways:
        for tiling in (False, True):
            if tiling and not can_tile(preset):
                continue
            needs = inference_gib(preset, offload, quantization, tiling, pixels, cpu)
            yield Plan(offload, quantization, tiling, needs, free_gib)


def inference_plan(
    preset: Preset,
    free_gib: float,
    *,
    pixels: int | None = None,
    cpu: CpuPrecision | None = None,
    nf4: bool = False,
) -> Plan:
    """Return the plan that costs the least time among those that fit. Raises ModelError with the
    numbers when none does.
    """
    plans = list(inference_plans(preset, free_gib, pixels=pixels, cpu=cpu, nf4=nf4))

    def refusal(least: Plan) -> str:
        return (
            f"preset {preset.name} does not fit: even with {least.mode} it needs about "
            f"{least.needs_gib:.1f} GiB, and "
            f"{free_gib:.1f} GiB are free. End what else uses the device, draw smaller pictures, "
            "or choose a smaller preset."
        )

    return cheapest_fitting(plans, refusal)


def next_plan(preset: Preset, plan: Plan, *, cpu: CpuPrecision | None = None) -> Plan | None:
    """Return what to step down to after an out-of-memory in `plan`; None when there is nothing
    left.

    A step must be possible with the pipeline as it is loaded, a LoRA in it included: what has been
    quantized stays so.
    """
    tiling = can_tile(preset)
    steps: list[tuple[Offload, Quantization]]
    if cpu:
        steps = [("none", "none"), ("none", "fp8")]
    elif plan.quantization != "none":
        steps = [("model", plan.quantization), ("group", plan.quantization)]
    else:
        steps = [("none", "none"), ("model", "none"), ("model", "fp8"), ("group", "none")]
    if plan.quantization == "nf4" and plan.offload == "model":
        return None  # bitsandbytes' weights cannot leave layer by layer
    for offload, quantization in steps[
        steps.index((plan.offload, plan.quantization)) + (plan.tiling or not tiling) :
    ]:
        needs = inference_gib(preset, offload, quantization, tiling, None, cpu)
        if needs < plan.needs_gib:
            return Plan(offload, quantization, tiling, needs, plan.free_gib)
    return None


def cheapest_fitting(plans: Sequence[AnyPlan], refusal: Callable[[AnyPlan], str]) -> AnyPlan:
    """Return the first plan that fits into what is free; plans come cheapest in time first.

    Raises ModelError with what `refusal` says of the plan that needs the least, when none fits.
    """
    for plan in plans:
        if plan.needs_gib <= plan.free_gib:
            return plan
    raise ModelError(refusal(min(plans, key=lambda plan: plan.needs_gib)))


def denoiser_of(preset: Preset) -> str:
    """Return the part that denoises: "unet" or "transformer"."""
    return "transformer" if "transformer" in preset.parameters else "unet"


def can_tile(preset: Preset) -> bool:
    """Return whether the VAE can work in tiles: the embedded model's own cannot, and is too small
    to need it.
    """
    return preset.name != "embedded"
