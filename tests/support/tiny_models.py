"""Tiny pipelines of the exact diffusers classes with random weights, saved as folders: about 1 MB
each, built in a second, offline.

They draw noise, in the right shapes through the right code; latents have a cell for 8x8 pixels, as
the large ones'.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from tests.support import tiny_flow_models

HIDDEN = 32  # numbers a token in every text encoder


def build(family: str, folder: Path, **changes: Any) -> Path:
    """Save the tiny pipeline of a family (a key of BUILDERS) in `folder`; `changes` go to its
    builder, such as guidance=False.
    """
    torch.manual_seed(0)
    pipeline = BUILDERS[family](**changes)
    pipeline.save_pretrained(folder)
    return folder


def _sd(**changes: Any) -> StableDiffusionPipeline:
    unet = _unet(cross_attention_dim=HIDDEN, **changes)
    return StableDiffusionPipeline(
        vae=_vae(channels=4, scaling_factor=0.18215),
        text_encoder=CLIPTextModel(_clip()),
        tokenizer=_tokenizer(),
        unet=unet,
        scheduler=_ddpm(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sd2() -> StableDiffusionPipeline:
    """Its U-Net projects by linear layers where Stable Diffusion 1.5's has convolutions."""
    return _sd(use_linear_projection=True)


def _sdxl() -> StableDiffusionXLPipeline:
    unet = _unet(
        cross_attention_dim=2 * HIDDEN,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + HIDDEN,
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
    )
    return StableDiffusionXLPipeline(
        vae=_vae(channels=4, scaling_factor=0.13025),
        text_encoder=CLIPTextModel(_clip()),
        text_encoder_2=CLIPTextModelWithProjection(_clip()),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        unet=unet,
        scheduler=_ddpm(),
    )


def _flux(guidance: bool = True) -> FluxPipeline:
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,  # 2x2 cells of 4 channels
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=HIDDEN,
        pooled_projection_dim=HIDDEN,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 6, 6),
    )
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), ("▁", -2.0)]
    pieces += [
        (letter, -3.0)
        for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,-"
    ]
    return FluxPipeline(
        vae=_vae(
            channels=4,
            scaling_factor=0.3611,
            shift_factor=0.1159,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=CLIPTextModel(_clip()),
        text_encoder_2=T5EncoderModel(
            T5Config(
                vocab_size=len(pieces), d_model=HIDDEN, d_kv=8, d_ff=37, num_layers=2, num_heads=4
            )
        ),
        tokenizer=_tokenizer(),
        tokenizer_2=T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    )


def _unet(**changes: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=4,
        norm_num_groups=8,
        **changes,
    )


def _vae(channels: int, **changes: Any) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=64,
        **changes,
    )


def _ddpm() -> DPMSolverMultistepScheduler:
    """The noise schedule that SD 1.5 and SDXL were trained with."""
    return DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="epsilon"
    )


def _clip() -> CLIPTextConfig:
    tokens = len(_vocabulary())
    return CLIPTextConfig(
        bos_token_id=tokens - 2,
        eos_token_id=tokens - 1,
        pad_token_id=tokens - 1,
        vocab_size=tokens,
        hidden_size=HIDDEN,
        projection_dim=HIDDEN,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=3,
        max_position_embeddings=77,
    )


def _tokenizer() -> CLIPTokenizer:
    """CLIP's, which knows single letters only."""
    return CLIPTokenizer(vocab=_vocabulary(), merges=[], model_max_length=77)


def _vocabulary() -> dict[str, int]:
    letters = sorted(ByteLevel.alphabet())
    tokens = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    return {token: index for index, token in enumerate(tokens)}


BUILDERS: dict[str, Callable[..., Any]] = {
    "sd": _sd,
    "sd2": _sd2,
    "sdxl": _sdxl,
    "flux": _flux,
    **tiny_flow_models.BUILDERS,
}
