"""Z-Image, base and Turbo: one stream of tokens of 2x2 latent cells and of words, which Qwen3
reads; rectified flow.
"""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image

from avatar_pipeline.diffusion.families import PromptEmbeds, Start
from avatar_pipeline.diffusion.families.flow import (
    chat,
    check_length,
    drawn_steps,
    linear_shift,
    noisy_latents,
)
from avatar_pipeline.diffusion.families.flux import decode_latents, encode_pixels
from avatar_pipeline.diffusion.families.sd import (
    image_tokens,
    is_distilled,
    is_guided,
    pooled_part,
    unpack,
)

__all__ = [
    "decode_latents",
    "drawn_steps",
    "encode_pixels",
    "image_tokens",
    "is_distilled",
    "is_guided",
    "pooled_part",
    "unpack",
]

PIPELINE = "ZImagePipeline"
DENOISER = "transformer"
TEXT_ENCODERS = ("text_encoder",)
REDRAWS = False  # its image-to-image pipeline does the same, from a drawn start
MAX_TOKENS = 512  # of a prompt, its chat template included


def encode_prompt(pipeline: Any, prompt: str) -> PromptEmbeds:
    text = chat(pipeline.tokenizer, prompt, thinking=True)
    check_length(pipeline.tokenizer, text, prompt, MAX_TOKENS)
    (embeds,), _ = pipeline.encode_prompt(
        [prompt], do_classifier_free_guidance=False, max_sequence_length=MAX_TOKENS
    )
    mask = torch.ones(1, len(embeds), dtype=torch.int64, device=embeds.device)
    return {"prompt_embeds": embeds[None], "prompt_embeds_mask": mask}


def encode_negative(pipeline: Any, prompt: str) -> PromptEmbeds:
    return encode_prompt(pipeline, prompt)


def prompt_arguments(prompt_embeds: PromptEmbeds) -> dict[str, Any]:
    return {
        name: list(value.unbind())
        for name, value in prompt_embeds.items()
        if not name.endswith("_mask")  # prompts that are drawn together are alike long
    }


def guidance(guidance_scale: float, guided: bool) -> dict[str, Any]:
    # The pipeline's is prompt + scale * (prompt - negative): one less, and none at 0.
    return {"guidance_scale": guidance_scale - 1 if guided else 0.0}


def start_image(pipeline: Any, image: Image.Image, start: Start) -> dict[str, Any]:
    clean = encode_pixels(pipeline, pipeline.image_processor.preprocess([image]))
    mu = linear_shift(pipeline, image_tokens(clean))
    latents, sigmas = noisy_latents(pipeline, clean, start, mu)
    return {"latents": latents, "sigmas": sigmas, "width": image.width, "height": image.height}


def predict(
    denoiser: Any,
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
    prompt_embeds: PromptEmbeds,
    frames: torch.Tensor,
) -> torch.Tensor:
    words = zip(prompt_embeds["prompt_embeds"], prompt_embeds["prompt_embeds_mask"], strict=True)
    predicted = denoiser(
        list(noisy.to(denoiser.dtype).unsqueeze(2).unbind()),
        (1000 - timesteps.to(noisy.device)) / 1000,  # it counts from noise to picture
        [embeds[mask.bool()].to(denoiser.dtype) for embeds, mask in words],
        return_dict=False,
    )[0]
    return -torch.stack(list(predicted)).squeeze(2)
