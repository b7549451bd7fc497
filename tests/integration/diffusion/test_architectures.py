"""The figures that memory is planned by, counted on the real architectures, without weights."""

from __future__ import annotations

from functools import cache

import pytest

from avatar_pipeline.diffusion.memory import (
    ACTIVATIONS,
    TILE,
)
from avatar_pipeline.diffusion.presets import PRESETS, get_preset
from benchmarks import full_size


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_those_of_the_published_architectures(name: str) -> None:
    preset = get_preset(name)
    for part, millions in preset.parameters.items():
        counted = full_size.parameters(full_size.build(preset, part)) / 1e6
        assert millions == pytest.approx(counted, rel=1e-3, abs=0.5 if counted > 50 else 0.05), part
    assert ACTIVATIONS[name].lora == full_size.lora_parameters(preset)


@cache
def counted(name: str) -> tuple[float, float]:
    preset = get_preset(name)
    width, height = max(preset.sizes.values(), key=lambda size: size[0] * size[1])
    assert ACTIVATIONS[name].pixels == width * height
    return full_size.drawing(preset, width, height) / 2**20, full_size.vae_decode(
        preset, width, height
    ) / 2**20


@pytest.mark.parametrize("name", ["embedded", "sd15", "sdxl", "flux-dev"])
def test_activations_are_those_counted_on_the_architectures(name: str) -> None:
    denoising, vae_decode = counted(name)
    table, preset = ACTIVATIONS[name], get_preset(name)
    assert [table.denoising, table.vae_decode] == pytest.approx([denoising, vae_decode], abs=1)
    assert table.training_pixels == preset.width * preset.height
    checkpointed = (
        full_size.training(preset, preset.width, preset.height, checkpointing=True) / 2**20
    )
    assert table.checkpointed == pytest.approx(checkpointed, abs=1)
    if name != "flux-dev":  # its 57 blocks take ten seconds
        assert table.training == pytest.approx(
            full_size.training(preset, preset.width, preset.height, False) / 2**20, abs=1
        )


@pytest.mark.parametrize("name", [name for name in PRESETS if "unet" in PRESETS[name].parameters])
def test_attention_maps_are_those_of_the_architectures(name: str) -> None:
    preset, table = get_preset(name), ACTIVATIONS[name]
    largest, _ = full_size.attention_maps(preset, preset.width, preset.height)
    assert table.attention_map == pytest.approx(largest / 2**20, abs=0.5)


def test_activations_grow_with_the_pixels() -> None:
    preset = get_preset("sdxl")
    half = full_size.drawing(preset, 1024, 512) / full_size.drawing(preset, 1024, 1024)
    assert half == pytest.approx(0.5, abs=0.05)
    tile = full_size.vae_decode(preset, TILE, TILE) / full_size.vae_decode(preset, 1024, 1024)
    assert tile == pytest.approx(0.25, abs=0.02)
