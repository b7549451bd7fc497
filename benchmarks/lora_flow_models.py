"""Pipelines of random weights of FLUX.2 klein and Z-Image: with a fiftieth of their weights, and at
full size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3Model

from avatar_pipeline.diffusion.presets import get_preset
from benchmarks.full_size_flow import BUILDERS as PUBLISHED
from benchmarks.full_size_flow import QWEN3
from tests.support import tiny_flow_models

TEXT_LAYERS = 4  # of 36: at least one for each of the three that klein reads


def as_distilled(folder: Path) -> Path:
    """A folder beside this one with the same weights, of which klein's model_index.json says that
    they draw in few steps and that no LoRA is trained on them.
    """
    distilled = folder.with_name(f"{folder.name}-distilled")
    distilled.mkdir()
    for part in folder.iterdir():
        if part.is_dir():
            (distilled / part.name).symlink_to(part.resolve())
    index = json.loads((folder / "model_index.json").read_text())
    if "is_distilled" in index:
        index["is_distilled"] = True
    (distilled / "model_index.json").write_text(json.dumps(index, indent=2))
    return distilled


def _middle_klein() -> Flux2KleinPipeline:
    """FLUX.2 klein's blocks, four million weights of them, on a small autoencoder and text
    encoder.
    """
    pipeline = tiny_flow_models.flux2(distilled=False)
    pipeline.register_modules(
        transformer=Flux2Transformer2DModel(
            in_channels=pipeline.transformer.config.in_channels,
            num_layers=1,
            num_single_layers=3,
            attention_head_dim=64,
            num_attention_heads=4,
            joint_attention_dim=pipeline.transformer.config.joint_attention_dim,
            axes_dims_rope=(16, 16, 16, 16),
            guidance_embeds=False,
        )
    )
    return pipeline


def _middle_z_image() -> ZImagePipeline:
    """Z-Image's blocks, as many weights, on a small autoencoder and text encoder."""
    pipeline = tiny_flow_models.z_image()
    transformer = ZImageTransformer2DModel(
        in_channels=pipeline.transformer.config.in_channels,
        dim=256,
        n_layers=4,
        n_refiner_layers=1,
        n_heads=4,
        n_kv_heads=4,
        cap_feat_dim=pipeline.transformer.config.cap_feat_dim,
        axes_dims=[16, 24, 24],
        axes_lens=[1024, 64, 64],
    )
    pipeline.register_modules(transformer=_with_padding(transformer))
    return pipeline


def _klein() -> Flux2KleinPipeline:
    """FLUX.2 klein 4B: the transformer and the autoencoder in full; a text encoder of the right
    width with few layers: it is asked once and then leaves.
    """
    tiny = tiny_flow_models.flux2(distilled=False)
    return Flux2KleinPipeline(
        vae=_published("flux2-klein", "vae"),
        text_encoder=Qwen3ForCausalLM(_qwen3("flux2-klein", tiny)).to(torch.bfloat16),
        tokenizer=tiny.tokenizer,
        transformer=_in_bfloat16("flux2-klein"),
        scheduler=tiny.scheduler,
        is_distilled=False,
    )


def _z_image() -> ZImagePipeline:
    """Z-Image, in the same way."""
    tiny = tiny_flow_models.z_image()
    vae = _published("z-image", "vae")
    vae.register_to_config(scaling_factor=0.3611, shift_factor=0.1159)
    return ZImagePipeline(
        vae=vae,
        text_encoder=Qwen3Model(_qwen3("z-image", tiny)).to(torch.bfloat16),
        tokenizer=tiny.tokenizer,
        transformer=_with_padding(_in_bfloat16("z-image")),
        scheduler=tiny.scheduler,
    )


def _published(name: str, part: str) -> Any:
    preset = get_preset(name)
    return PUBLISHED[preset.family, part](preset)


def _in_bfloat16(name: str) -> Any:
    """A preset's transformer, never in float32: Z-Image would take 25 GB."""
    torch.set_default_dtype(torch.bfloat16)
    try:
        return _published(name, "transformer")
    finally:
        torch.set_default_dtype(torch.float32)


def _with_padding(transformer: Any) -> Any:
    """Z-Image's transformer with the two weights that its class leaves uninitialised."""
    with torch.no_grad():
        transformer.x_pad_token.normal_()
        transformer.cap_pad_token.normal_()
    return transformer


def _qwen3(name: str, tiny: Any) -> Qwen3Config:
    """A preset's text encoder with TEXT_LAYERS layers, for the tiny pipeline's tokenizer."""
    hidden, feed_forward, heads = QWEN3[name]
    config: Qwen3Config = tiny.text_encoder.config
    config.update(
        {
            "hidden_size": hidden,
            "intermediate_size": feed_forward,
            "num_hidden_layers": TEXT_LAYERS,
            "layer_types": ["full_attention"] * TEXT_LAYERS,
            "num_attention_heads": heads,
            "num_key_value_heads": 8,
            "head_dim": 128,
        }
    )
    return config


BUILDERS = {
    "middle-klein": _middle_klein,
    "middle-z-image": _middle_z_image,
    "flux2-klein": _klein,
    "z-image": _z_image,
}
