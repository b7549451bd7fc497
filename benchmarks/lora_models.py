"""Pipelines of random weights to time LoRA training on: speed does not depend on what the weights
are. Nothing is downloaded.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)

from avatar_pipeline.bundled_model.unet import make_unet
from avatar_pipeline.diffusion.presets import EMBEDDED_MODEL
from benchmarks import lora_flow_models
from tests.support import tiny_models

PICTURES = 16
# The published configurations of stabilityai/stable-diffusion-xl-base-1.0 and
# black-forest-labs/FLUX.1-dev.
SDXL_UNET: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
FLUX_TRANSFORMER: dict[str, Any] = {"guidance_embeds": True}
LARGE_VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "sample_size": 1024,
}


def build(name: str, folder: Path, device: str) -> Path:
    """Save the pipeline called "tiny-" and a family, or one of BUILDERS or
    lora_flow_models.BUILDERS. LoRAs can be trained on all: none is distilled.
    """
    torch.manual_seed(0)
    if name.startswith("tiny-"):
        family = name.removeprefix("tiny-")
        changes = {"distilled": False} if family == "flux2" else {}
        return tiny_models.build(family, folder, **changes)
    with torch.device(device):
        pipeline = (BUILDERS | lora_flow_models.BUILDERS)[name]()
    pipeline.save_pretrained(folder)
    return folder


def save_pictures(folder: Path, side: int) -> Path:
    """PICTURES square PNGs of coloured noise."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(PICTURES):
        small = random.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(
            folder / f"{index:02d}.png"
        )
    return folder


def _embedded() -> StableDiffusionPipeline:
    """The embedded model's U-Net, with an autoencoder that diffusers' script can load, of about the
    embedded one's size (2.5 M).
    """
    return StableDiffusionPipeline(
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 5,
            up_block_types=("UpDecoderBlock2D",) * 5,
            block_out_channels=(16, 32, 48, 64, 96),
            layers_per_block=1,
            latent_channels=80,
            norm_num_groups=16,
            sample_size=512,
        ),
        text_encoder=CLIPTextModel.from_pretrained(
            EMBEDDED_MODEL, subfolder="text_encoder", dtype=torch.float32
        ).to(torch.get_default_device()),
        tokenizer=_tokenizer(),
        unet=make_unet(),
        scheduler=_ddpm(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl() -> StableDiffusionXLPipeline:
    """The denoiser and the autoencoder in full; text encoders of the right width with one layer:
    they are asked once and then leave.
    """
    return StableDiffusionXLPipeline(
        vae=AutoencoderKL(
            latent_channels=4, scaling_factor=0.13025, force_upcast=True, **LARGE_VAE
        ),
        text_encoder=CLIPTextModel(_clip(768)),
        text_encoder_2=CLIPTextModelWithProjection(_clip(1280)),
        tokenizer=tiny_models._tokenizer(),
        tokenizer_2=tiny_models._tokenizer(),
        unet=UNet2DConditionModel(**SDXL_UNET).to(torch.bfloat16),
        scheduler=_ddpm(),
    )


def _flux() -> FluxPipeline:
    pieces = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", -10.0),
        *((letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz "),
    ]
    from transformers import T5Tokenizer

    torch.set_default_dtype(torch.bfloat16)  # in float32 the transformer alone would take 48 GB
    try:
        transformer = FluxTransformer2DModel(**FLUX_TRANSFORMER)
    finally:
        torch.set_default_dtype(torch.float32)
    return FluxPipeline(
        vae=AutoencoderKL(
            latent_channels=16,
            scaling_factor=0.3611,
            shift_factor=0.1159,
            use_quant_conv=False,
            use_post_quant_conv=False,
            **LARGE_VAE,
        ),
        text_encoder=CLIPTextModel(_clip(768)),
        text_encoder_2=T5EncoderModel(
            T5Config(
                vocab_size=len(pieces),
                d_model=4096,
                d_kv=64,
                d_ff=10240,
                num_layers=1,
                num_heads=64,
            )
        ).to(torch.bfloat16),
        tokenizer=tiny_models._tokenizer(),
        tokenizer_2=T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    )


def _clip(width: int) -> CLIPTextConfig:
    config = tiny_models._clip()
    config.hidden_size = config.projection_dim = width
    config.intermediate_size, config.num_attention_heads, config.num_hidden_layers = (
        4 * width,
        width // 64,
        2,
    )
    return config


def _ddpm() -> DDPMScheduler:
    return DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="epsilon"
    )


def _tokenizer() -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(EMBEDDED_MODEL, subfolder="tokenizer")


def remove(folder: Path) -> None:
    """Give the disk back: a FLUX pipeline has 24 GB."""
    shutil.rmtree(folder, ignore_errors=True)


BUILDERS = {"embedded": _embedded, "sdxl": _sdxl, "flux-dev": _flux}
