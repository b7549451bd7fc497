"""The published architectures of FLUX.2 klein, Z-Image and Qwen-Image, and what their denoisers are
called with. Configurations: those of the published folders, as diffusers' conversion scripts and
the classes' defaults state them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from avatar_pipeline.diffusion.preset_types import Preset

QWEN3 = {  # hidden size, feed-forward width, attention heads
    "flux2-klein": (2560, 9728, 32),
    "flux2-klein-9b": (4096, 12288, 32),
    "z-image": (2560, 9728, 32),
}
TEXT_TOKENS = 512
Empty = Callable[..., torch.Tensor]


def _klein(preset: Preset) -> Any:
    from diffusers import Flux2Transformer2DModel

    large = preset.name == "flux2-klein-9b"
    return Flux2Transformer2DModel(
        num_layers=8 if large else 5,
        num_single_layers=24 if large else 20,
        num_attention_heads=32 if large else 24,
        joint_attention_dim=3 * QWEN3[preset.name][0],
        guidance_embeds=False,
    )


def _z_image(preset: Preset) -> Any:
    from diffusers import ZImageTransformer2DModel

    return ZImageTransformer2DModel()


def _qwen_image(preset: Preset) -> Any:
    from diffusers import QwenImageTransformer2DModel

    return QwenImageTransformer2DModel()


def _qwen3(preset: Preset) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3Model

    hidden, feed_forward, heads = QWEN3[preset.name]
    config = Qwen3Config(
        hidden_size=hidden,
        intermediate_size=feed_forward,
        num_hidden_layers=36,
        num_attention_heads=heads,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=151_936,
        tie_word_embeddings=preset.name != "flux2-klein-9b",
    )
    return Qwen3Model(config) if preset.family == "z_image" else Qwen3ForCausalLM(config)


def _qwen2_5_vl(preset: Preset) -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    text = {
        "hidden_size": 3584,
        "intermediate_size": 18_944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152_064,
        "rope_parameters": {"mrope_section": [16, 24, 24], "rope_type": "default"},
    }
    vision = {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
    }
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False)
    return Qwen2_5_VLForConditionalGeneration(config)


def _flux2_vae(preset: Preset) -> Any:
    from diffusers import AutoencoderKLFlux2

    return AutoencoderKLFlux2()


def _flux_vae(preset: Preset) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=16,
        sample_size=1024,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _qwen_vae(preset: Preset) -> Any:
    from diffusers import AutoencoderKLQwenImage

    return AutoencoderKLQwenImage()


BUILDERS: dict[tuple[str, str], Callable[[Preset], Any]] = {
    ("flux2", "transformer"): _klein,
    ("flux2", "text_encoder"): _qwen3,
    ("flux2", "vae"): _flux2_vae,
    ("z_image", "transformer"): _z_image,
    ("z_image", "text_encoder"): _qwen3,
    ("z_image", "vae"): _flux_vae,
    ("qwen_image", "transformer"): _qwen_image,
    ("qwen_image", "text_encoder"): _qwen2_5_vl,
    ("qwen_image", "vae"): _qwen_vae,
}


def denoiser_inputs(
    preset: Preset, denoiser: Any, size: tuple[int, int], batch: int, empty: Empty
) -> dict[str, Any]:
    """What a denoiser of these families is called with for `batch` pictures of `size`, width and
    height in pixels.
    """
    columns, rows = size[0] // 16, size[1] // 16
    tokens = columns * rows
    if preset.family == "z_image":
        return {
            "x": [empty(16, 1, 2 * rows, 2 * columns) for _ in range(batch)],
            "t": empty(batch),
            "cap_feats": [empty(TEXT_TOKENS, denoiser.config.cap_feat_dim) for _ in range(batch)],
            "return_dict": False,
        }
    inputs: dict[str, Any] = {
        "hidden_states": empty(batch, tokens, denoiser.config.in_channels),
        "timestep": empty(batch),
        "encoder_hidden_states": empty(batch, TEXT_TOKENS, denoiser.config.joint_attention_dim),
        "return_dict": False,
    }
    if preset.family == "flux2":
        places = {"txt_ids": (batch, TEXT_TOKENS, 4), "img_ids": (batch, tokens, 4)}
        return inputs | {name: empty(*shape) for name, shape in places.items()}
    return inputs | {"img_shapes": [[(1, rows, columns)]] * batch}
