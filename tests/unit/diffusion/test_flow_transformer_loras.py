"""LoRA files of FLUX.2, Z-Image and Qwen-Image: read under every convention in use, as diffusers
reads them where it does, and written so that others read them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from avatar_pipeline.diffusion.lora import check_lora
from avatar_pipeline.diffusion.lora.settings import LayerFault
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.training.files import read, to_bytes
from avatar_pipeline.diffusion.training.kohya import kohya_file
from avatar_pipeline.diffusion.training.notes import LoraFacts, training_notes
from tests.support import flow_transformers as flow
from tests.support.flow_lora_rows import ROWS, Row
from tests.support.lora_factors import dora, lora

FAMILIES = tuple(flow.PIPELINES)


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.family}: {row.name}")
def test_every_layer_is_changed_by_what_the_file_holds(row: Row, tmp_path: Path) -> None:
    model = flow.transformer(row.family)
    file = row.build(model)
    wanted = {module: added for (_, module), added in file.added.items()}
    base = check_lora(file.data(), preset_of(row.family))
    assert base is not None and row.family in base.families
    with ExitStack() as stack:
        assert not flow.put_in(model, file.data(), stack)
        found = flow.deltas(model)
    assert found.keys() == wanted.keys()
    assert max(relative(found[name], wanted[name]) for name in wanted) < 1e-6
    if row.diffusers:
        theirs = flow.deltas_by_diffusers(row.family, file.data(), tmp_path)
        assert theirs.keys() == found.keys()
        assert max(relative(theirs[name], found[name]) for name in found) < 1e-6
    assert not flow.deltas(model)


def test_flux_2s_last_modulation_is_turned_round() -> None:
    """Scale and shift stand the other way round in diffusers (its convert_flux2_... swaps them)."""
    model = flow.transformer("flux2")
    layers = {"final_layer.adaLN_modulation.1": ["norm_out.linear"]}
    file = flow.written(model, layers, lora(4, 2.0), "diffusion_model.")
    with ExitStack() as stack:
        flow.put_in(model, file.data(), stack)
        found = flow.deltas(model)["norm_out.linear"]
    (wanted,) = file.added.values()
    shift, scale = wanted.chunk(2)
    assert relative(found, torch.cat([scale, shift])) < 1e-6
    assert relative(found, wanted) > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_dora_of_other_trainers_is_taken(family: str) -> None:
    model = flow.transformer(family)
    names = {"flux2": flow.FLUX2, "z_image": flow.Z_IMAGE}
    layers = names.get(family, flow.single(flow.MODULES[family]))
    file = flow.written(model, layers, dora(lora(4, 2.0)), "diffusion_model.")
    inputs = torch.Generator().manual_seed(1)
    with ExitStack() as stack, torch.no_grad():
        assert not flow.put_in(model, file.data(), stack)
        model.double()
        for (_, name), added in file.added.items():
            module = model.get_submodule(name)
            base = module.get_base_layer()
            x = torch.randn(3, base.in_features, generator=inputs, dtype=torch.float64)
            assert relative(module(x) - base(x), x @ added.T) < 1e-5


def test_a_file_of_another_size_of_flux_2_is_one_fault_by_name() -> None:
    """klein 9B on klein 4B in small: the same names, other widths."""
    model = flow.transformer("flux2")
    file = flow.written(model, flow.FLUX2, lora(4, 2.0), "lora_unet_", flat=True)
    tensors = {
        name: value.repeat(1, 2) if name.endswith("lora_down.weight") else value
        for name, value in file.tensors.items()
    }
    words = r"\w+ has \d+ outputs of \d+ inputs, and the model's layer \d+ of \d+"
    with ExitStack() as stack, pytest.raises(LayerFault, match=words):
        flow.put_in(model, to_bytes(tensors, {}), stack)
    assert not flow.deltas(model)


def labelled(data: bytes, label: str) -> bytes:
    return to_bytes(load(data), {"ss_base_model_version": label})


def sized(*layers: tuple[str, int, int]) -> bytes:
    """A file of rank 1 by names, outputs and inputs."""
    tensors = {}
    for name, outputs, inputs in layers:
        tensors[f"{name}.lora_A.weight"] = torch.zeros(1, inputs, dtype=torch.float16)
        tensors[f"{name}.lora_B.weight"] = torch.zeros(outputs, 1, dtype=torch.float16)
    return to_bytes(tensors, {})


QUERIES = "transformer.transformer_blocks.{}.attn.to_q"
SINGLE = "transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj"
ATTENTION = sized((QUERIES.format(0), 3072, 3072))
BASES = {
    "FLUX.2 klein 4B": sized((SINGLE, 27648, 3072)),
    "FLUX.2 klein 9B": sized((SINGLE, 36864, 4096)),
    "FLUX.2 dev": sized((SINGLE, 55296, 6144)),
    "FLUX.2": sized((SINGLE, 144, 16)),
    "Qwen-Image": sized(*((QUERIES.format(block), 3072, 3072) for block in range(60))),
    "Z-Image": sized(("diffusion_model.layers.3.attention.to_q", 3840, 3840)),
    "Lumina 2": sized(("diffusion_model.layers.3.attention.qkv", 6912, 2304)),
    "FLUX.1": sized(
        (QUERIES.format(0), 3072, 3072),
        ("transformer.single_transformer_blocks.0.attn.to_q", 3072, 3072),
    ),
    "FLUX or Qwen-Image": ATTENTION,
    "FLUX.1 or FLUX.2": sized(("diffusion_model.double_blocks.2.img_attn.qkv", 9216, 3072)),
    "FLUX.1 or Qwen-Image": sized((QUERIES.format(12), 3072, 3072)),
}
LABELS = {
    "flux_2_klein_4b": "FLUX.2 klein 4B",
    "Flux.2-klein-4b/lora": "FLUX.2 klein 4B",
    "flux2_klein_4b": "FLUX.2 klein 4B",
    "qwen_image": "Qwen-Image",
    "Qwen-Image-Edit/lora": "Qwen-Image",
    "flux1": "FLUX.1",
}


@pytest.mark.parametrize("name", BASES)
def test_the_base_model_is_seen_by_names_and_widths(name: str) -> None:
    assert flow.base_of(BASES[name]).name == name


@pytest.mark.parametrize("label", LABELS)
def test_a_label_decides_where_the_names_do_not(label: str) -> None:
    assert flow.base_of(labelled(ATTENTION, label)).name == LABELS[label]


# What is written: alpha, rank and use_rslora of the training.
STRENGTHS = [(4, 4, False), (6, 4, False), (1, 8, False), (6, 4, True)]
PRESETS = {"flux2": "flux2-klein", "z_image": "z-image", "qwen_image": "qwen-image"}


def preset_of(family: Any) -> Preset:
    return get_preset(PRESETS[family])


def trained(
    family: str, modules: Sequence[str], alpha: int, rank: int, rslora: bool, dora: bool = False
) -> bytes:
    """A LoRA as the training leaves it."""
    model, random = flow.transformer(family), torch.Generator().manual_seed(2)
    tensors = {}
    for name in modules:
        outputs, inputs = model.get_submodule(name).weight.shape
        start = f"transformer.{name}"
        tensors[f"{start}.lora_A.weight"] = torch.randn(rank, inputs, generator=random)
        tensors[f"{start}.lora_B.weight"] = torch.randn(outputs, rank, generator=random)
        if dora:
            tensors[f"{start}.lora_magnitude_vector"] = torch.rand(outputs, generator=random)
    settings = {"r": rank, "lora_alpha": alpha, "use_rslora": rslora, "use_dora": dora}
    packed = json.dumps({f"transformer.{name}": value for name, value in settings.items()})
    return to_bytes(tensors, {"lora_adapter_metadata": packed})


def outside(family: str) -> list[str]:
    layers = {"flux2": flow.FLUX2_OUTSIDE, "z_image": flow.Z_IMAGE_OUTSIDE}.get(family, {})
    return [module for modules in layers.values() for module in modules]


@pytest.mark.parametrize(("alpha", "rank", "rslora"), STRENGTHS)
@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_and_the_reader_here_get_the_trained_weights_back(
    family: str, alpha: int, rank: int, rslora: bool, tmp_path: Path
) -> None:
    modules = [*flow.MODULES[family], *outside(family)]
    weights = trained(family, modules, alpha, rank, rslora)
    other = kohya_file(weights, preset_of(family), 2, {})
    assert other is not None
    path = tmp_path / "other.safetensors"
    path.write_bytes(other)
    before, after = load(weights), flow.PIPELINES[family].lora_state_dict(path)
    assert after.keys() == before.keys()
    scale = alpha / (math.sqrt(rank) if rslora else rank)
    for name in modules:
        start = f"transformer.{name}"
        down, up = (after[f"{start}.lora_{side}.weight"] for side in "AB")
        if scale == 1:
            assert torch.equal(down, before[f"{start}.lora_A.weight"])
            assert torch.equal(up, before[f"{start}.lora_B.weight"])
        one = before[f"{start}.lora_B.weight"].double() @ before[f"{start}.lora_A.weight"].double()
        assert relative(up.double() @ down.double(), scale * one) < 1e-6
    first, second = flow.transformer(family), flow.transformer(family)
    with ExitStack() as stack:
        assert not flow.put_in(first, weights, stack)
        assert not flow.put_in(second, other, stack)
        wanted, found = flow.deltas(first), flow.deltas(second)
    assert wanted.keys() == found.keys() == set(modules)
    assert max(relative(found[name], wanted[name]) for name in modules) < 1e-6


NAMES = {
    "flux2": (
        "lora_unet_double_blocks_1_img_attn_qkv.lora_down.weight",
        "lora_unet_double_blocks_0_txt_mlp_2.lora_up.weight",
        "lora_unet_single_blocks_1_linear1.alpha",
    ),
    "z_image": (
        "diffusion_model.layers.1.attention.to_q.lora_A.weight",
        "diffusion_model.noise_refiner.0.attention.to_out.0.lora_B.weight",
        "diffusion_model.layers.0.feed_forward.w2.alpha",
    ),
    "qwen_image": (
        "diffusion_model.transformer_blocks.1.attn.add_q_proj.lora_A.weight",
        "diffusion_model.transformer_blocks.0.img_mlp.net.0.proj.lora_B.weight",
        "diffusion_model.transformer_blocks.0.img_mod.1.alpha",
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_written_names_are_those_that_comfyui_knows(family: str) -> None:
    other = kohya_file(trained(family, flow.MODULES[family], 6, 4, False), preset_of(family), 2, {})
    assert other is not None
    tensors = load(other)
    assert tensors.keys() >= set(NAMES[family])
    layers = {"flux2": len(flow.FLUX2)}.get(family, len(flow.MODULES[family]))
    assert len(tensors) == 3 * layers
    fused = tensors.get("lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight")
    if fused is not None:
        assert fused.shape == (3 * 16, 3 * 4)
        assert not fused[:16, 4:].any()


def test_a_part_of_a_fused_layer_that_was_not_trained_adds_nothing(tmp_path: Path) -> None:
    modules = ["transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_v"]
    other = kohya_file(trained("flux2", modules, 6, 4, False), preset_of("flux2"), 2, {})
    assert other is not None
    model = flow.transformer("flux2")
    with ExitStack() as stack:
        flow.put_in(model, other, stack)
        found = flow.deltas(model)
    assert found.keys() == {*modules, "transformer_blocks.0.attn.to_k"}
    assert not found["transformer_blocks.0.attn.to_k"].any()
    assert all(found[name].any() for name in modules)


@pytest.mark.parametrize("family", FAMILIES)
def test_dora_is_written_where_no_layers_are_fused(family: str) -> None:
    modules = flow.MODULES[family]
    weights = trained(family, modules, 6, 4, False, dora=True)
    other = kohya_file(weights, preset_of(family), 2, {})
    if family == "flux2":
        assert other is None
        return
    assert other is not None
    for name in modules:
        magnitudes = load(weights)[f"transformer.{name}.lora_magnitude_vector"]
        scale = load(other)[f"diffusion_model.{name}.dora_scale"]
        assert torch.equal(scale, magnitudes[:, None])


def test_flux_2_layers_that_diffusers_has_no_name_for_give_no_second_file() -> None:
    for name in ("single_stream_modulation.linear", "norm_out.linear"):
        weights = trained("flux2", [*flow.MODULES["flux2"], name], 4, 4, False)
        assert kohya_file(weights, preset_of("flux2"), 2, {}) is None


IDENTITIES = {
    "flux2-klein": ("flux_2_klein_4b", "Flux.2-klein-4b/lora", "networks.lora_flux_2"),
    "flux2-klein-9b": ("flux_2_klein_9b", "Flux.2-klein-9b/lora", "networks.lora_flux_2"),
    "z-image": ("z_image", "Z-Image/lora", "networks.lora_zimage"),
    "qwen-image": ("qwen_image", "Qwen-Image/lora", "networks.lora_qwen_image"),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_the_written_file_tells_its_model_as_musubi_tuner_does(name: str) -> None:
    family = "flux2" if name.startswith("flux2") else name.replace("-", "_")
    preset = replace(preset_of(family), name=name)
    facts = LoraFacts("somebody", "sks", ["photo of sks"], 0, 7, 10)
    notes = training_notes(preset, "flow", preset.lora.with_values({}), facts)
    other = kohya_file(trained(family, flow.MODULES[family], 4, 4, False), preset, 2, notes)
    assert other is not None
    said = read(other)[1]
    fields = ("ss_base_model_version", "modelspec.architecture", "ss_network_module")
    assert tuple(said[field] for field in fields) == IDENTITIES[name]
    assert family in flow.base_of(other).families
