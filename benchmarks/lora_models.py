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
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
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
from tests.support import tiny_flow_models, tiny_models

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
    """Save the pipeline called "embedded", "sdxl", "flux-dev", "tiny-" and a family, or one of
    MIDDLE.
    """
    torch.manual_seed(0)
    if name.startswith("tiny-"):
        return tiny_models.build(name.removeprefix("tiny-"), folder)
    if name in MIDDLE:
        MIDDLE[name]().save_pretrained(folder)
        return folder
    with torch.device(device):
        pipeline = {"embedded": _embedded, "sdxl": _sdxl, "flux-dev": _flux}[name]()
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


def denoiser_flops(name: str, batch: int, side: int, rank: int, targets: tuple[str, ...]) -> float:
    """Floating-point operations of the denoiser in one step, forward and backward, counted on its
    architecture without weights.
    """
    from peft import LoraConfig
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        if name == "flux-dev":
            model: Any = FluxTransformer2DModel(**FLUX_TRANSFORMER)
            tokens = (side // 16) ** 2
            given = {
                "hidden_states": torch.empty(batch, tokens, 64),
                "encoder_hidden_states": torch.empty(batch, 512, 4096),
                "pooled_projections": torch.empty(batch, 768),
                "timestep": torch.empty(batch),
                "guidance": torch.empty(batch),
                "img_ids": torch.empty(tokens, 3),
                "txt_ids": torch.empty(512, 3),
            }
        else:
            model = UNet2DConditionModel(**SDXL_UNET)
            given = {
                "sample": torch.empty(batch, 4, side // 8, side // 8),
                "timestep": torch.empty(batch),
                "encoder_hidden_states": torch.empty(batch, 77, 2048),
                "added_cond_kwargs": {
                    "text_embeds": torch.empty(batch, 1280),
                    "time_ids": torch.empty(batch, 6),
                },
            }
        model.requires_grad_(False)
        model.add_adapter(LoraConfig(r=rank, target_modules=list(targets)))
        with FlopCounterMode(display=False) as counter:
            model(**given, return_dict=False)[0].sum().backward()
    return float(counter.get_total_flops())


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


def _middle_klein() -> Flux2KleinPipeline:
    """FLUX.2 klein's blocks, 33 million weights of them, on a small autoencoder and text
    encoder.
    """
    pipeline = tiny_flow_models.flux2(distilled=False)
    pipeline.register_modules(
        transformer=Flux2Transformer2DModel(
            in_channels=pipeline.transformer.config.in_channels,
            num_layers=2,
            num_single_layers=6,
            attention_head_dim=64,
            num_attention_heads=8,
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
        dim=512,
        n_layers=8,
        n_refiner_layers=1,
        n_heads=8,
        n_kv_heads=8,
        cap_feat_dim=pipeline.transformer.config.cap_feat_dim,
        axes_dims=[16, 24, 24],
        axes_lens=[1024, 64, 64],
    )
    with torch.no_grad():
        transformer.x_pad_token.normal_()
        transformer.cap_pad_token.normal_()
    pipeline.register_modules(transformer=transformer)
    return pipeline


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


MIDDLE = {"middle-klein": _middle_klein, "middle-z-image": _middle_z_image}
