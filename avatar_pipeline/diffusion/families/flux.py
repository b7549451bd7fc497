"""FLUX.1, dev and schnell: a transformer over tokens of 2x2 latent cells, T5 for the words and CLIP
for a pooled vector, rectified flow.
"""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.families import PromptEmbeds, Start
from avatar_pipeline.diffusion.families.flow import drawn_steps
from avatar_pipeline.diffusion.families.sd import image_tokens, is_distilled, prompt_arguments
from avatar_pipeline.diffusion.prompt_chunks import count_tokens, split_prompt

__all__ = ["drawn_steps", "image_tokens", "is_distilled", "prompt_arguments"]

PIPELINE = "FluxPipeline"
DENOISER = "transformer"
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
REDRAWS = True
# dev is distilled from guidance, which it takes as a number. Trained at 1.0 a LoRA leaves the
# guidance scale's meaning as it is (diffusers' train_dreambooth_lora_flux.py: --guidance_scale 1 is
# recommended over its default of 3.5).
TRAINING_GUIDANCE = 1.0
# How far the picture is pushed away from a negative prompt: what diffusers' own examples of FLUX
# with true CFG take.
TRUE_CFG_SCALE = 4.0
# Tokens that T5 reads. schnell was trained on 256 (black-forest-labs/flux, src/flux/cli.py).
MAX_T5_TOKENS, MAX_T5_TOKENS_SCHNELL = 512, 256


def encode_prompt(pipeline: Any, prompt: str) -> PromptEmbeds:
    # T5 marks the end
    limit, tokens = max_t5_tokens(pipeline), count_tokens([pipeline.tokenizer_2], prompt) + 1
    if tokens > limit:
        raise GenerationError(
            f"the prompt is too long: {tokens} tokens, and this FLUX model reads {limit}. Shorten "
            f"it; it begins {prompt[:60]!r}."
        )
    embeds, pooled, _ = pipeline.encode_prompt(
        [pooled_part(pipeline, prompt)],
        [prompt],
        device=pipeline._execution_device,
        max_sequence_length=limit,
    )
    return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}


def encode_negative(pipeline: Any, prompt: str) -> PromptEmbeds:
    return encode_prompt(pipeline, prompt)


def pooled_part(pipeline: Any, prompt: str) -> str:
    # CLIP only gives a pooled vector, of its first window, as in ComfyUI.
    return split_prompt(prompt, [pipeline.tokenizer])[0]


def is_guided(pipeline: Any, guidance_scale: float, negative_prompt: str) -> bool:
    return bool(negative_prompt)


def guidance(guidance_scale: float, guided: bool) -> dict[str, Any]:
    return {"guidance_scale": guidance_scale, "true_cfg_scale": TRUE_CFG_SCALE if guided else 1.0}


def start_image(pipeline: Any, image: Image.Image, start: Start) -> dict[str, Any]:
    latents = encode_pixels(pipeline, pipeline.image_processor.preprocess([image]))
    # Without them the pipeline draws 1024x1024, whatever the picture's size.
    size = {"width": image.width, "height": image.height}
    return {"image": latents, "strength": start.strength, **size}


def max_t5_tokens(pipeline: Any) -> int:
    """Tokens of a prompt that the model reads: dev has an input for guidance, schnell has none."""
    return MAX_T5_TOKENS if pipeline.transformer.config.guidance_embeds else MAX_T5_TOKENS_SCHNELL


def encode_pixels(pipeline: Any, pixels: torch.Tensor) -> torch.Tensor:
    vae = pipeline.vae
    latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
    return (latents.float() - vae.config.shift_factor) * vae.config.scaling_factor


def decode_latents(pipeline: Any, latents: torch.Tensor) -> torch.Tensor:
    vae = pipeline.vae
    latents = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
    return vae.decode(latents, return_dict=False)[0].float()


def unpack(pipeline: Any, latents: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return pipeline._unpack_latents(latents, height, width, pipeline.vae_scale_factor)


def predict(
    denoiser: Any,
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
    prompt_embeds: PromptEmbeds,
    frames: torch.Tensor,
) -> torch.Tensor:
    from diffusers import FluxPipeline

    count, channels, height, width = noisy.shape
    dtype, device = denoiser.dtype, noisy.device
    tokens = FluxPipeline._pack_latents(noisy.to(dtype), count, channels, height, width)
    embeds = prompt_embeds["prompt_embeds"].to(dtype)
    guidance = (
        torch.full((count,), TRAINING_GUIDANCE, device=device)
        if denoiser.config.guidance_embeds
        else None
    )
    predicted = denoiser(
        hidden_states=tokens,
        timestep=timesteps.to(device) / 1000,
        guidance=guidance,
        pooled_projections=prompt_embeds["pooled_prompt_embeds"].to(dtype),
        encoder_hidden_states=embeds,
        txt_ids=torch.zeros(embeds.shape[1], 3, device=device, dtype=dtype),
        img_ids=FluxPipeline._prepare_latent_image_ids(
            count, height // 2, width // 2, device, dtype
        ),
        return_dict=False,
    )[0]
    return FluxPipeline._unpack_latents(predicted, height * 8, width * 8, vae_scale_factor=8)
