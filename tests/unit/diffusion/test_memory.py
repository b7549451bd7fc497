"""Memory: the estimates against the real architectures and published figures, and the plans for
three cards.
"""

from __future__ import annotations

import pytest

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.hyperparameters import Quantization
from avatar_pipeline.diffusion.memory import (
    BYTES,
    CpuPrecision,
    inference_gib,
    inference_plan,
    next_plan,
    part_gib,
)
from avatar_pipeline.diffusion.presets import PRESETS, get_preset
from avatar_pipeline.diffusion.training_memory import training_gib, training_plan

# GiB free on an idle card: its size less the driver's share and the CUDA context
A6000, CARD_24, CARD_12 = 47.0, 23.2, 11.4
GB = 1e9 / 2**30


# preset, rank, checkpointing, storage -> reported GB (SimpleTuner's quick start for FLUX r=16;
# diffusers' SDXL example: "< 16 GB")
@pytest.mark.parametrize(
    ("name", "rank", "quantization", "least", "most"),
    [
        ("flux-dev", 16, "none", 0.8 * 30, 1.1 * 30),
        ("flux-dev", 16, "fp8", 0.8 * 18, 1.1 * 18),  # int8 has the same size
        ("flux-dev", 16, "nf4", 0.8 * 9, 13),  # 9 GB for nf4, 13 GB for int4
        ("flux-dev", 128, "none", 30, 44),  # 44 GB on an A6000, with more layers trained than ours
        ("sdxl", 32, "none", 5, 16),
    ],
)
def test_training_estimates_against_published_figures(
    name: str, rank: int, quantization: Quantization, least: float, most: float
) -> None:
    needs = training_gib(
        get_preset(name),
        rank=rank,
        batch_size=1,
        gradient_checkpointing=True,
        quantization=quantization,
        offload_text=True,
    )
    assert least <= needs / GB <= most


# preset -> peak GiB of a drawing at the largest native size, in bfloat16; batch, checkpointing and
# peak GiB of a training (benchmarks/README.md, full_size_on_cpu.py)
MEASURED_ON_A_CPU = {"sd15": (6.2, 4, False, 11.5), "sdxl": (18.9, 1, True, 16.5)}


@pytest.mark.parametrize("name", MEASURED_ON_A_CPU)
def test_estimates_on_a_cpu_against_what_was_measured(name: str) -> None:
    preset = get_preset(name)
    drawn, batch, checkpointing, trained = MEASURED_ON_A_CPU[name]
    assert inference_plan(preset, 100.0, cpu="bfloat16").needs_gib == pytest.approx(drawn, rel=0.1)
    needs = training_gib(
        preset,
        rank=preset.lora.rank,
        batch_size=batch,
        gradient_checkpointing=checkpointing,
        quantization="none",
        offload_text=False,
        cpu="bfloat16",
    )
    assert needs == pytest.approx(trained, rel=0.1)


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_weights_in_eight_bits_are_loaded_in_full_on_a_cpu(name: str) -> None:
    preset = get_preset(name)
    in_full = sum(part_gib(preset, cpu="bfloat16").values())
    needs = inference_gib(preset, "none", "fp8", True, cpu="bfloat16")
    assert in_full < needs < inference_gib(preset, "none", "none", True, cpu="bfloat16")


DRAWING = {
    "embedded": ("all on the device",) * 3,
    "sd15": ("all on the device",) * 3,
    "sdxl": ("all on the device",) * 3,
    "flux-dev": ("all on the device", "fp8 + model offload", "group offload"),
    "flux-schnell": ("all on the device", "fp8 + model offload", "group offload"),
    "flux2-klein": ("all on the device", "all on the device", "model offload"),
    "flux2-klein-9b": ("all on the device", "model offload", "group offload"),
    "z-image": ("all on the device", "all on the device, VAE in tiles", "fp8 + model offload"),
    "qwen-image": ("model offload", "fp8 + model offload", "group offload, VAE in tiles"),
}


@pytest.mark.parametrize("name", PRESETS)
def test_the_plan_for_drawing_on_three_cards(name: str) -> None:
    plans = [inference_plan(get_preset(name), free) for free in (A6000, CARD_24, CARD_12)]
    assert tuple(plan.mode for plan in plans) == DRAWING[name]
    for plan, free in zip(plans, (A6000, CARD_24, CARD_12), strict=True):
        assert plan.needs_gib <= free == plan.free_gib
        assert f"{plan.needs_gib:.1f} GiB of {free:.1f} GiB free" in plan.describe()


# (gradient checkpointing, quantized base, text encoders off the card); None: does not fit, and says
# what would help
TRAINING: dict[str, tuple[tuple[bool, str, bool] | None, ...]] = {
    "embedded": ((False, "none", False),) * 3,
    "sd15": ((False, "none", False), (False, "none", False), (False, "none", False)),
    "sdxl": ((False, "none", False), (True, "none", True), (True, "none", True)),
    "flux-dev": ((True, "none", True), (True, "fp8", True), None),
    "flux-schnell": ((True, "none", True), (True, "fp8", True), None),
    "flux2-klein": ((False, "none", False), (True, "none", True), (True, "none", True)),
    "flux2-klein-9b": ((True, "none", True), (True, "none", True), None),
    "z-image": ((True, "none", True), (True, "none", True), (True, "fp8", True)),
}


@pytest.mark.parametrize("name", TRAINING)
def test_the_plan_for_training_on_three_cards(name: str) -> None:
    preset = get_preset(name)
    for free, expected in zip((A6000, CARD_24, CARD_12), TRAINING[name], strict=True):
        if expected is None:
            with pytest.raises(
                ModelError,
                match=r"does not fit.*GiB of 11\.4 GiB "
                r"free.*bitsandbytes",
            ):
                training_plan(
                    preset, free, rank=preset.lora.rank, batch_size=preset.lora.batch_size
                )
            plan = training_plan(
                preset, free, rank=preset.lora.rank, batch_size=preset.lora.batch_size, nf4=True
            )
            expected = (True, "nf4", True)
        else:
            plan = training_plan(
                preset, free, rank=preset.lora.rank, batch_size=preset.lora.batch_size
            )
        assert (plan.gradient_checkpointing, plan.quantization, plan.offload_text) == expected
        assert plan.needs_gib <= free


def test_qwen_image_is_trained_on_two_of_the_three_cards() -> None:
    preset = get_preset("qwen-image")
    assert training_plan(preset, A6000, rank=16, batch_size=1).quantization == "none"
    assert training_plan(preset, CARD_24, rank=16, batch_size=1, nf4=True).quantization == "nf4"
    with pytest.raises(ModelError, match=r"does not fit.*nf4 base.*GiB of 11\.4 GiB free"):
        training_plan(preset, CARD_12, rank=16, batch_size=1, nf4=True)


def test_what_does_not_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(
        ModelError,
        match=r"flux-dev does not fit: even with group offload, VAE in tiles it needs "
        r"about \d\.\d GiB, and 1\.5 GiB",
    ):
        inference_plan(get_preset("flux-dev"), 1.5)


def test_tiles_come_before_offload_when_only_decoding_is_too_large() -> None:
    preset = get_preset("sdxl")
    whole, tiled = (inference_gib(preset, "none", "none", tiling) for tiling in (False, True))
    assert whole - tiled > 1
    plan = inference_plan(preset, (whole + tiled) / 2)
    assert (plan.offload, plan.tiling, plan.mode) == (
        "none",
        True,
        "all on the device, VAE in tiles",
    )


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("cpu", [None, "float32", "bfloat16"])
def test_stepping_down_always_needs_less_and_ends(name: str, cpu: CpuPrecision | None) -> None:
    preset = get_preset(name)
    plan = inference_plan(preset, 500.0, cpu=cpu)
    steps = [plan]
    while (following := next_plan(preset, steps[-1], cpu=cpu)) is not None:
        steps.append(following)
        assert len(steps) < 9
    needs = [step.needs_gib for step in steps]
    assert needs == sorted(needs, reverse=True)
    assert len(steps) >= 2
    assert cpu is None or all(step.offload == "none" for step in steps)


def test_bytes_a_parameter() -> None:
    assert BYTES["nf4"] == 0.5 + 4 / 64
