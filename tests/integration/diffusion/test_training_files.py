"""The LoRA's files: plain diffusers reads both formats, and draws the same with them as the trainer
did.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load

from avatar_pipeline.diffusion.lora import ADAPTER, applied
from avatar_pipeline.diffusion.lora.original_names import sgm_name
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.diffusion.training.files import adapter_config, annotate, read, to_bytes
from avatar_pipeline.diffusion.training.kohya import kohya_file
from avatar_pipeline.diffusion.training.notes import LoraFacts, training_notes
from avatar_pipeline.diffusion.training.types import Evaluation
from tests.support.documented import as_documented
from tests.support.training_sets import SIZE, settings, tiny_session, train

# what the file for other programs calls the first attention that it trains
KOHYA_NAMES = {
    "sd": "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_down",
    "sdxl": "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q.lora_down",
    "flux2": "lora_unet_double_blocks_0_img_attn_qkv.lora_down",
    "z_image": "diffusion_model.layers.0.attention.to_q.lora_A",
    "qwen_image": "diffusion_model.transformer_blocks.0.attn.to_q.lora_A",
}
OPTIONS: list[dict[str, Any]] = [{}, {"use_rslora": True}, {"use_dora": True}]


def draw(pipeline: Any) -> np.ndarray:
    """Two steps from a fixed seed: numbers, not pixels."""
    random = torch.Generator().manual_seed(3)
    found = pipeline(
        prompt="a",
        num_inference_steps=2,
        generator=random,
        height=SIZE,
        width=SIZE,
        output_type="latent",
        **as_documented(pipeline, 2.0),
    )
    return np.asarray(found.images.float())


def plain(session: PipelineSession) -> Any:
    """The same model as anybody would load it, with the preset's sampler, and its convolutions in
    the memory layout of ours: the other one rounds in another order.
    """
    import diffusers

    pipeline = getattr(diffusers, session.family.PIPELINE).from_pretrained(session.model)
    pipeline.scheduler = type(session.pipeline.scheduler).from_config(
        session.pipeline.scheduler.config
    )
    pipeline.set_progress_bar_config(disable=True)
    if session.family.DENOISER == "unet":
        pipeline.unet.to(memory_format=torch.channels_last)
    return pipeline


def put(folder: Path, data: bytes) -> Path:
    (folder / "lora.safetensors").write_bytes(data)
    return folder / "lora.safetensors"


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_plain_diffusers_reads_it_and_draws_the_same_bit_for_bit(
    each_session: PipelineSession, tmp_path: Path, options: dict[str, Any]
) -> None:
    drawn: list[np.ndarray] = []

    def evaluate(step: int) -> Evaluation:
        drawn.append(draw(each_session.pipeline))
        return Evaluation(-step)

    asked = settings(each_session, rank=4, alpha=6, **options)
    weights = annotate(
        train(each_session, asked, evaluate=evaluate).weights, {"avatar_pipeline.actor": "somebody"}
    )
    pipeline = plain(each_session)
    before = draw(pipeline)
    pipeline.load_lora_weights(put(tmp_path, weights), adapter_name=ADAPTER)
    config = getattr(pipeline, each_session.family.DENOISER).peft_config[ADAPTER]
    assert (config.r, config.lora_alpha) == (4, 6)
    assert (config.use_rslora, config.use_dora) == (
        options.get("use_rslora", False),
        options.get("use_dora", False),
    )
    pipeline.fuse_lora(components=[each_session.family.DENOISER])  # as evaluations are drawn
    assert np.array_equal(draw(pipeline), drawn[-1])
    assert not np.array_equal(before, drawn[-1])
    assert read(weights)[1]["avatar_pipeline.actor"] == "somebody"


@pytest.mark.parametrize("rslora", [False, True])
def test_diffusers_reads_the_kohya_file_and_draws_the_same(
    each_session: PipelineSession, tmp_path: Path, rslora: bool
) -> None:
    if each_session.preset.family == "flux":
        pytest.skip("diffusers reads FLUX files of the full width only: see the next test")
    weights = train(
        each_session, settings(each_session, rank=4, alpha=6, use_rslora=rslora)
    ).weights
    other = kohya_file(weights, each_session.preset, 1, {})
    assert other is not None
    assert f"{KOHYA_NAMES[each_session.preset.family]}.weight" in load(other)
    pictures = []
    for data in (weights, other):
        pipeline = plain(each_session)
        pipeline.load_lora_weights(put(tmp_path, data), adapter_name=ADAPTER)
        pictures.append(draw(pipeline))
    assert np.allclose(pictures[0], pictures[1], atol=1e-5)


def test_diffusers_reads_the_kohya_file_of_flux(tmp_path: Path) -> None:
    from diffusers import FluxPipeline

    preset = get_preset("flux-dev")
    random = torch.Generator().manual_seed(0)
    rank, width = 2, 3072
    double = [
        *("to_q", "to_k", "to_v", "to_out.0"),
        "add_q_proj",
        "add_k_proj",
        "add_v_proj",
        "to_add_out",
    ]
    sizes = {f"transformer_blocks.18.attn.{name}": (width, width) for name in double}
    sizes |= {f"single_transformer_blocks.37.attn.{name}": (width, width) for name in double[:3]}
    # as diffusers' script trains them, ours where lora_targets names them
    for stream in ("ff", "ff_context"):
        sizes[f"transformer_blocks.18.{stream}.net.0.proj"] = (width, 4 * width)
        sizes[f"transformer_blocks.18.{stream}.net.2"] = (4 * width, width)
    sizes["single_transformer_blocks.37.proj_out"] = (5 * width, width)
    tensors = {}
    for name, (inner, outer) in sizes.items():
        tensors[f"transformer.{name}.lora_A.weight"] = torch.randn(rank, inner, generator=random)
        tensors[f"transformer.{name}.lora_B.weight"] = torch.randn(outer, rank, generator=random)
    config = {
        "transformer.r": rank,
        "transformer.lora_alpha": rank,
        "transformer.use_dora": False,
        "transformer.use_rslora": False,
    }
    weights = to_bytes(tensors, {"lora_adapter_metadata": json.dumps(config)})
    other = kohya_file(weights, preset, 2, {})
    assert other is not None
    shapes = {key: tuple(value.shape) for key, value in load(other).items()}
    assert shapes["lora_unet_double_blocks_18_img_attn_qkv.lora_down.weight"] == (3 * rank, width)
    assert shapes["lora_unet_double_blocks_18_txt_attn_proj.lora_up.weight"] == (width, rank)
    assert shapes["lora_unet_single_blocks_37_linear1.lora_up.weight"] == (7 * width, 4 * rank)
    back = FluxPipeline.lora_state_dict(put(tmp_path, other))
    assert all(torch.equal(back[name], value) for name, value in tensors.items())
    rest = {name: value for name, value in back.items() if name not in tensors}
    # not trained: their part of the fused layer adds nothing
    assert all("proj_mlp" in name for name in rest)
    assert not rest["transformer.single_transformer_blocks.37.proj_mlp.lora_B.weight"].any()
    elsewhere = {
        name.replace("attn.to_add_out", "norm1.linear"): value for name, value in tensors.items()
    }
    assert (
        kohya_file(
            to_bytes(elsewhere, {"lora_adapter_metadata": json.dumps(config)}), preset, 2, {}
        )
        is None
    )


def test_alpha_and_rslora_are_one_scale_in_kohyas_format(sd_session: PipelineSession) -> None:
    for rslora, scale in ((False, 6 / 4), (True, 6 / math.sqrt(4))):
        weights = train(
            sd_session, settings(sd_session, rank=4, alpha=6, use_rslora=rslora)
        ).weights
        other = kohya_file(weights, sd_session.preset, 1, {})
        assert other is not None
        (alpha,) = {float(value) for key, value in load(other).items() if key.endswith(".alpha")}
        assert alpha / 4 == pytest.approx(scale)


@pytest.mark.parametrize(
    ("family", "targets"),
    [
        ("sd", ("to_q", "conv1", "conv_shortcut")),
        ("z_image", ("to_q", "to_out.0")),
        ("qwen_image", ("to_q", "add_k_proj", "to_add_out")),
    ],
)
def test_dora_is_drawn_by_both_files(
    tiny_folder: Callable[[str], Path], family: str, targets: tuple[str, ...]
) -> None:
    """In convolutions too."""
    session = tiny_session(family, tiny_folder(family))
    trained: list[np.ndarray] = []

    def evaluate(step: int) -> Evaluation:
        trained.append(draw(session.pipeline))
        return Evaluation(-step)

    asked = settings(session, rank=4, alpha=6, use_dora=True, targets=targets)
    weights = train(session, asked, evaluate=evaluate).weights
    other = kohya_file(weights, session.preset, 1, {})
    assert other is not None
    for file in (weights, other):
        with applied(session, file):
            assert draw(session.pipeline) == pytest.approx(trained[-1], abs=1e-5)
    assert not np.array_equal(draw(session.pipeline), trained[-1])
    session.close()


def test_dora_magnitudes_are_kept_where_the_format_can_hold_them(
    each_session: PipelineSession,
) -> None:
    weights = train(each_session, settings(each_session, use_dora=True)).weights
    other = kohya_file(weights, each_session.preset, 1, {})
    if each_session.preset.family in ("flux", "flux2"):
        assert other is None
        return
    assert other is not None
    found = load(other)
    scales = [key for key in found if key.endswith(".dora_scale")]
    assert len(scales) * 4 == len(found)
    is_dotted = each_session.preset.family in ("z_image", "qwen_image")
    up = found[scales[0].replace("dora_scale", f"{'lora_B' if is_dotted else 'lora_up'}.weight")]
    assert found[scales[0]].shape == (len(up), 1)


def test_sdxl_has_the_names_of_the_original_unet() -> None:
    # sd-scripts' own: the first attention is input_blocks.4.1, the deepest middle_block.1, the last
    # output_blocks.5.1
    assert sgm_name("down_blocks.1.attentions.0.proj_in", 2) == "input_blocks.4.1.proj_in"
    assert sgm_name("down_blocks.2.attentions.1.x", 2) == "input_blocks.8.1.x"
    assert sgm_name("mid_block.attentions.0.x", 2) == "middle_block.1.x"
    assert sgm_name("mid_block.resnets.1.conv1", 2) == "middle_block.2.in_layers.2"
    assert sgm_name("up_blocks.0.attentions.0.x", 2) == "output_blocks.0.1.x"
    assert sgm_name("up_blocks.1.attentions.2.x", 2) == "output_blocks.5.1.x"
    assert (
        sgm_name("down_blocks.0.resnets.1.conv_shortcut", 2) == "input_blocks.2.0.skip_connection"
    )


def test_the_kohya_file_tells_what_others_ask_for(sd_session: PipelineSession) -> None:
    asked = settings(sd_session)
    trained = train(sd_session, asked)
    captions = ["photo of sks, smiling", "photo of sks, gray background"]
    preset = get_preset("sd15")
    facts = LoraFacts("somebody", "sks", captions, 0, 7, trained.best_step)
    notes = training_notes(preset, "epsilon", asked, facts)
    first, second = (kohya_file(trained.weights, preset, 1, notes) for _ in range(2))
    assert first is not None
    assert first == second
    said = read(first)[1]
    assert (said["ss_network_module"], said["ss_network_dim"], said["ss_network_alpha"]) == (
        "networks.lora",
        "2",
        "3.0",
    )
    assert (said["ss_base_model_version"], said["modelspec.architecture"]) == (
        "sd_v1",
        "stable-diffusion-v1/lora",
    )
    assert json.loads(said["ss_tag_frequency"]) == {
        "1_somebody": {"gray background": 1, "photo of sks": 2, "smiling": 1}
    }
    assert (said["modelspec.trigger_phrase"], said["ss_seed"], said["ss_num_train_images"]) == (
        "sks",
        "7",
        "2",
    )
    assert said["modelspec.hash_sha256"] == f"0x{said['sshs_model_hash']}"
    assert all(isinstance(value, str) for value in said.values())
    for prediction, word in (("epsilon", "epsilon"), ("v_prediction", "v"), ("flow", None)):
        notes = training_notes(preset, prediction, asked, replace(facts, step=1))  # type: ignore[arg-type]
        assert notes.get("modelspec.prediction_type") == word


def test_notes_do_not_touch_what_the_loader_reads(sd_session: PipelineSession) -> None:
    weights = train(sd_session, settings(sd_session)).weights
    noted = annotate(weights, {"x": "y"})
    (before, old), (after, new) = read(weights), read(noted)
    assert new == {**old, "x": "y"}
    assert adapter_config(new)["r"] == 2
    assert all(torch.equal(before[name], after[name]) for name in before)
