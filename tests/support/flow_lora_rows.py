"""LoRA files of FLUX.2, Z-Image and Qwen-Image, one for each convention that trainers have."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from tests.support.flow_transformers import (
    FLUX2,
    FLUX2_MODULATION,
    FLUX2_OUTSIDE,
    MODULES,
    PIPELINES,
    Z_IMAGE,
    Z_IMAGE_OUTSIDE,
    single,
    written,
)
from tests.support.lora_conventions import Written, peft_role
from tests.support.lora_factors import lokr, lora


def _metadata(file: Written, alpha: int) -> Written:
    """alpha in diffusers' metadata, not in tensors."""
    tensors = {name: value for name, value in file.tensors.items() if not name.endswith(".alpha")}
    modules = [module for _, module in file.added]
    settings = {"r": 4, "lora_alpha": alpha, "target_modules": modules}
    packed = json.dumps({f"transformer.{name}": value for name, value in settings.items()})
    return replace(file, tensors=tensors, metadata={"lora_adapter_metadata": packed})


class Row(NamedTuple):
    """A convention. diffusers: whether diffusers' own loader reads all of it as well."""

    family: str
    name: str
    build: Callable[[Any], Written]
    diffusers: bool = True


ALPHA, NO_ALPHA = lora(4, 6.0), lora(4, 0)
DIFFERING = lora(None, None)


def _rows(family: str) -> list[Row]:
    """Those of all three, in diffusers' names of modules."""
    layers, kohya = single(MODULES[family]), family != "flux2"
    return [
        Row(
            family,
            "diffusers, alpha in the metadata",
            lambda model: _metadata(written(model, layers, ALPHA, "transformer.", peft_role), 6),
        ),
        Row(
            family,
            "OneTrainer's DIFFUSERS",
            lambda model: written(model, layers, NO_ALPHA, "transformer.", peft_role),
        ),
        Row(
            family,
            "OneTrainer's LEGACY",
            lambda model: written(model, layers, DIFFERING, "transformer."),
            diffusers=False,
        ),
        Row(
            family,
            "LyCORIS LoKr around the transformer",
            lambda model: written(model, layers, lokr(2, 2), "lycoris_", flat=True),
            diffusers=family == "flux2",
        ),
        *(
            [
                Row(
                    family,
                    "ai-toolkit",
                    lambda model: written(model, layers, NO_ALPHA, "diffusion_model.", peft_role),
                ),
                Row(
                    family,
                    "OneTrainer's COMFY",
                    lambda model: written(model, layers, DIFFERING, "diffusion_model.", peft_role),
                ),
                Row(
                    family,
                    "diffusion_model., lora_down",
                    lambda model: written(model, layers, DIFFERING, "diffusion_model."),
                ),
                Row(
                    family,
                    "OneTrainer's ORIGINAL",
                    lambda model: written(model, layers, DIFFERING, "", peft_role),
                ),
                Row(
                    family,
                    "musubi-tuner",
                    lambda model: written(model, layers, DIFFERING, "lora_unet_", flat=True),
                ),
            ]
            if kohya
            else []
        ),
    ]


ROWS = [
    *(row for family in PIPELINES for row in _rows(family)),
    Row(
        "flux2",
        "musubi-tuner",
        lambda model: written(model, FLUX2 | FLUX2_OUTSIDE, DIFFERING, "lora_unet_", flat=True),
    ),
    Row(
        "flux2",
        "ai-toolkit",
        lambda model: written(
            model,
            FLUX2 | FLUX2_OUTSIDE | FLUX2_MODULATION,
            NO_ALPHA,
            "diffusion_model.",
            peft_role,
        ),
    ),
    Row(
        "flux2",
        "diffusion_model., lora_down",
        lambda model: written(model, FLUX2, DIFFERING, "diffusion_model."),
        diffusers=False,
    ),
    Row(
        "flux2",
        "OneTrainer's COMFY",
        lambda model: written(model, FLUX2, DIFFERING, "diffusion_model.", peft_role),
        diffusers=False,
    ),
    Row(
        "flux2",
        "OneTrainer's ORIGINAL",
        lambda model: written(model, FLUX2, DIFFERING, "", peft_role),
        diffusers=False,
    ),
    Row(
        "flux2",
        "ai-toolkit's LoKr",
        lambda model: written(model, FLUX2, lokr(4, 3), "diffusion_model."),
        diffusers=False,
    ),
    Row(
        "flux2",
        "diffusers' fused projections",
        lambda model: written(
            model,
            {
                "transformer_blocks.0.attn.to_qkv": FLUX2["double_blocks.0.img_attn.qkv"],
                "transformer_blocks.1.attn.to_added_qkv": FLUX2["double_blocks.1.txt_attn.qkv"],
            },
            lokr(4, 3),
            "transformer.",
        ),
        diffusers=False,
    ),
    Row(
        "z_image",
        "musubi-tuner, converted for ComfyUI",
        lambda model: written(model, Z_IMAGE, DIFFERING, "lora_unet_", flat=True),
    ),
    Row(
        "z_image",
        "ComfyUI's own names",
        lambda model: written(
            model, Z_IMAGE | Z_IMAGE_OUTSIDE, DIFFERING, "diffusion_model.", peft_role
        ),
        diffusers=False,
    ),
]
