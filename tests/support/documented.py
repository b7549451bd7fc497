"""Diffusers' pipelines called as their documentation says."""

from __future__ import annotations

from typing import Any


def as_documented(pipeline: Any, scale: float) -> dict[str, Any]:
    """What a pipeline takes for a guidance scale, and for how prompts are read: the arguments that
    are not the same in every family. The pipeline is one of tests.support.tiny_models.
    """
    options: dict[str, dict[str, Any]] = {
        # prompt + scale * (prompt - negative)
        "ZImagePipeline": {"guidance_scale": scale - 1},
        "QwenImagePipeline": {"true_cfg_scale": scale, "negative_prompt": " "},
        # layers of 4 as the large ones' of 36
        "Flux2KleinPipeline": {"guidance_scale": scale, "text_encoder_out_layers": (1, 2, 3)},
    }
    name = type(pipeline).__name__
    if name == "FluxPipeline" and not pipeline.transformer.config.guidance_embeds:
        return {"guidance_scale": scale, "max_sequence_length": 256}
    return options.get(name, {"guidance_scale": scale})
