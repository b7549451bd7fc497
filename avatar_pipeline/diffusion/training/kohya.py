"""The LoRA under the names that others' programs read: ComfyUI, A1111 and the trainers.

SD 1.5, SDXL, FLUX.1 and FLUX.2 have those of kohya's sd-scripts and musubi-tuner,
`lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight`. SD 1.5 keeps diffusers' module names
there; SDXL has those of the original U-Net (`input_blocks_4_1_...`), FLUX those of the original
transformer, where one layer gives queries, keys and values: the LoRAs of the three become one of
three times the rank, block by block (networks/lora_flux.py of sd-scripts, split_qkv). For FLUX.2
diffusers reads alpha under these names alone.

Z-Image and Qwen-Image have ComfyUI's, `diffusion_model.layers.0.attention.to_q.lora_A.weight`, with
alpha beside: ComfyUI, diffusers, musubi-tuner and OneTrainer read them at the right strength, and
ai-toolkit writes the same names. Of `lora_unet_` names with separate queries, keys and values
ComfyUI knows none for Z-Image (model_lora_keys_unet), and fused ones musubi-tuner does not.

rsLoRA's scale alpha / sqrt(rank) is written as the alpha that gives the same.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import torch

from avatar_pipeline.diffusion.lora.original_names import sgm_name
from avatar_pipeline.diffusion.lora.transformer_names import FLUX1, FLUX2, Original
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.training.files import adapter_config, read, to_bytes


class Convention(NamedTuple):
    """How layers and their tensors are called. is_flat: underscores for the dots of a layer."""

    prefix: str
    is_flat: bool
    down: str
    up: str


KOHYA = Convention("lora_unet_", True, "lora_down", "lora_up")
COMFYUI = Convention("diffusion_model.", False, "lora_A", "lora_B")
CONVENTIONS = {"z_image": COMFYUI, "qwen_image": COMFYUI}
# The families whose layers have other names, and which of those all programs read: in diffusers'
# converters the others are missing.
BLOCKS = r"double_blocks_\d+_(img|txt)_(attn|mlp)_\w+|single_blocks_\d+_linear[12]"
ORIGINALS = {
    "flux": (FLUX1, re.compile(BLOCKS)),
    "flux2": (
        FLUX2,
        re.compile(rf"{BLOCKS}|(img|txt)_in|time_in_(in|out)_layer|final_layer_linear"),
    ),
}
MLP_WIDTH = 4  # rows of proj_mlp, in widths of the model

Layer = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]  # down, up, DoRA's magnitudes


def kohya_file(
    weights: bytes, preset: Preset, layers_per_block: int, notes: Mapping[str, str]
) -> bytes | None:
    """Return the file that others read, from a LoRA in diffusers' format.

    layers_per_block: of the U-Net. notes: further metadata, as notes.training_notes gives it.
    None for what the format cannot hold: DoRA on FLUX, whose fused layers would need magnitudes for
    rows that were not trained, and FLUX layers that not all programs have a name for.
    """
    tensors, metadata = read(weights)
    config = adapter_config(metadata)
    layers = _layers(tensors)
    rank = config["r"]
    alpha = config["lora_alpha"] * (math.sqrt(rank) if config["use_rslora"] else 1.0)
    named: Mapping[str, Layer] | None = layers
    if preset.family in ORIGINALS:
        named = None if config["use_dora"] else _original(layers, rank, *ORIGINALS[preset.family])
    elif preset.family == "sdxl":
        named = {sgm_name(name, layers_per_block, layers): layer for name, layer in layers.items()}
    if named is None:
        return None
    convention = CONVENTIONS.get(preset.family, KOHYA)
    found: dict[str, torch.Tensor] = {}
    for name, (down, up, magnitudes) in named.items():
        key = convention.prefix + (name.replace(".", "_") if convention.is_flat else name)
        found[f"{key}.{convention.down}.weight"] = down.contiguous()
        found[f"{key}.{convention.up}.weight"] = up.contiguous()
        found[f"{key}.alpha"] = torch.tensor(alpha * len(down) / rank, dtype=torch.float32)
        if magnitudes is not None:
            # one for each row of the output
            found[f"{key}.dora_scale"] = magnitudes.reshape(-1, *[1] * (up.ndim - 1))
    data = to_bytes(found, {})
    digest = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    about = {"ss_network_dim": str(rank), "ss_network_alpha": str(alpha), "sshs_model_hash": digest}
    return to_bytes(
        found, {"format": "pt", **notes, **about, "modelspec.hash_sha256": f"0x{digest}"}
    )


def _layers(tensors: Mapping[str, torch.Tensor]) -> dict[str, Layer]:
    """Return the LoRA's layers by diffusers' module names, the pipeline's part left out."""
    found: dict[str, Layer] = {}
    for key, down in tensors.items():
        if key.endswith(".lora_A.weight"):
            whole = key.removesuffix(".lora_A.weight")
            name = whole.partition(".")[2]
            found[name] = (
                down,
                tensors[f"{whole}.lora_B.weight"],
                tensors.get(f"{whole}.lora_magnitude_vector"),
            )
    return found


def _original(
    layers: Mapping[str, Layer], rank: int, original: Original, known: re.Pattern[str]
) -> dict[str, Layer] | None:
    """Return the layers by the original transformer's names; None when one has no known name."""
    found: dict[str, Layer] = {}
    left_out = set(layers)
    for name, members in original.layers(layers):
        if known.fullmatch(name) and not left_out.isdisjoint(members):
            found[name] = _fused({member: layers.get(member) for member in members}, rank)
            left_out.difference_update(members)
    return None if left_out else found


def _fused(parts: Mapping[str, Layer | None], rank: int) -> Layer:
    """Return one layer for several that share their input: downs one below the other, ups along the
    diagonal, zeros for a missing one.
    """
    first = next(part for part in parts.values() if part is not None)
    if len(parts) == 1:
        return first
    width = first[0].shape[1]
    rows = [MLP_WIDTH * width if name.endswith(".proj_mlp") else width for name in parts]
    down = torch.cat([part[0] if part else torch.zeros_like(first[0]) for part in parts.values()])
    up = torch.zeros(sum(rows), rank * len(parts), dtype=first[1].dtype)
    top = 0
    for index, (part, height) in enumerate(zip(parts.values(), rows, strict=True)):
        if part:
            up[top : top + height, index * rank : (index + 1) * rank] = part[1]
        top += height
    return down, up, None
