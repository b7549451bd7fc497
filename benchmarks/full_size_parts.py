"""The parts of every preset's pipeline, by the published configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from avatar_pipeline.diffusion.preset_types import Preset
from benchmarks import full_size_flow


def embedded(preset: Preset, part: str) -> torch.nn.Module:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from avatar_pipeline.diffusion.patch_autoencoder import PatchAutoencoder

    folder = f"{preset.model}/{part}"
    if part == "text_encoder":
        return CLIPTextModel(CLIPTextConfig.from_pretrained(folder))
    kind: Any = UNet2DConditionModel if part == "unet" else PatchAutoencoder
    return kind.from_config(kind.load_config(folder))


def _sd_unet(preset: Preset) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(sample_size=64, cross_attention_dim=768)


def _sdxl_unet(preset: Preset) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
        use_linear_projection=True,
    )


def _flux_transformer(preset: Preset) -> Any:
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(guidance_embeds=preset.name == "flux-dev")


def _vae(preset: Preset) -> Any:
    from diffusers import AutoencoderKL

    flux: dict[str, Any] = {
        "latent_channels": 16,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    }
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        sample_size=1024,
        **(flux if preset.family == "flux" else {"latent_channels": 4}),
    )


def _clip_large(preset: Preset) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            projection_dim=768,
        )
    )


def _clip_big(preset: Preset) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            hidden_size=1280,
            intermediate_size=5120,
            num_hidden_layers=32,
            num_attention_heads=20,
            projection_dim=1280,
        )
    )


def _t5(preset: Preset) -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=32128,
            d_model=4096,
            d_ff=10240,
            d_kv=64,
            num_heads=64,
            num_layers=24,
            feed_forward_proj="gated-gelu",
        )
    )


BUILDERS: dict[tuple[str, str], Callable[[Preset], Any]] = {
    ("sd", "unet"): _sd_unet,
    ("sd", "text_encoder"): _clip_large,
    ("sd", "vae"): _vae,
    ("sdxl", "unet"): _sdxl_unet,
    ("sdxl", "text_encoder"): _clip_large,
    ("sdxl", "text_encoder_2"): _clip_big,
    ("sdxl", "vae"): _vae,
    ("flux", "transformer"): _flux_transformer,
    ("flux", "text_encoder"): _clip_large,
    ("flux", "text_encoder_2"): _t5,
    ("flux", "vae"): _vae,
    **full_size_flow.BUILDERS,
}
