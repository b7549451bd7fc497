"""Which base model a LoRA was trained on, as its metadata, names and widths tell it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from math import prod
from typing import Any, NamedTuple

from avatar_pipeline.diffusion.families import FamilyName
from avatar_pipeline.diffusion.lora.header import tensor_names
from avatar_pipeline.diffusion.lora.keys import DENOISER, split_key


class Base(NamedTuple):
    """A base model. families: those of the presets that may draw with it."""

    name: str
    families: tuple[FamilyName, ...] = ()


SD1, SD2 = Base("Stable Diffusion 1.5", ("sd",)), Base("Stable Diffusion 2", ("sd",))
SDXL, FLUX1 = Base("SDXL", ("sdxl",)), Base("FLUX.1", ("flux",))
U_NET = Base("Stable Diffusion or SDXL", ("sd", "sdxl"))
FLUX2 = Base("FLUX.2", ("flux2",))
KLEIN_4B, KLEIN_9B = Base("FLUX.2 klein 4B", ("flux2",)), Base("FLUX.2 klein 9B", ("flux2",))
FLUX2_DEV = Base("FLUX.2 dev")
QWEN, Z_IMAGE = Base("Qwen-Image", ("qwen_image",)), Base("Z-Image", ("z_image",))
SD3, LUMINA2 = Base("Stable Diffusion 3"), Base("Lumina 2")
WAN, HUNYUAN, CHROMA = Base("Wan"), Base("HunyuanVideo"), Base("Chroma")
HIDREAM, CASCADE = Base("HiDream"), Base("Stable Cascade")
# Attention in the first double blocks alone is called the same in all of these.
UNDECIDED = {
    (True, True): Base("FLUX or Qwen-Image", ("flux", "flux2", "qwen_image")),
    (True, False): Base("FLUX.1 or FLUX.2", ("flux", "flux2")),
    (False, True): Base("FLUX.1 or Qwen-Image", ("flux", "qwen_image")),
    (False, False): FLUX1,
}

# What modelspec.architecture, ss_base_model_version and the like begin with.
DECLARED = (
    ("flux-2", FLUX2),
    ("flux2", FLUX2),
    ("flux.2", FLUX2),
    ("flux_2", FLUX2),
    ("flux", FLUX1),
    ("stable-diffusion-xl", SDXL),
    ("sdxl", SDXL),
    ("sd_xl", SDXL),
    ("stable-diffusion-v2", SD2),
    ("stable-diffusion-2", SD2),
    ("sd_v2", SD2),
    ("sd_2", SD2),
    ("sd2", SD2),
    ("stable-diffusion-v3", SD3),
    ("stable-diffusion-3", SD3),
    ("sd_v3", SD3),
    ("sd3", SD3),
    ("stable-diffusion-v1", SD1),
    ("sd_v1", SD1),
    ("sd_1", SD1),
    ("sd1", SD1),
    ("chroma", CHROMA),
    ("qwen", QWEN),
    ("z-image", Z_IMAGE),
    ("zimage", Z_IMAGE),
    ("z_image", Z_IMAGE),
    ("lumina", LUMINA2),
    ("wan", WAN),
    ("hunyuan", HUNYUAN),
    ("hidream", HIDREAM),
    ("stable-cascade", CASCADE),
)
FIELDS = ("modelspec.architecture", "ss_base_model_version")
# Names of layers that one model alone has.
LAYERS = (
    (
        re.compile(
            r"(double|single)_stream_modulation|to_qkv_mlp_proj|_ff(_context)?_linear_(in|out)$"
            r"|single_transformer_blocks_\d+_attn_to_out"
        ),
        FLUX2,
    ),
    (re.compile(r"distilled_guidance_layer"), CHROMA),
    (re.compile(r"joint_blocks_\d+_"), SD3),
    (re.compile(r"double_stream_blocks_\d+_"), HIDREAM),
    (re.compile(r"transformer_blocks_\d+_(img|txt)_(mlp|mod)_"), QWEN),
    (re.compile(r"^prior_"), CASCADE),
    (
        re.compile(r"^(layers_\d+_(attention|attn|feed_forward|adaLN)|(noise|context)_refiner_)"),
        Z_IMAGE,
    ),
    (re.compile(r"^blocks_\d+_(self_attn|cross_attn|ffn)_"), WAN),
    (re.compile(r"double_blocks_\d+_|single_blocks_\d+_|single_transformer_blocks"), FLUX1),
    (re.compile(r"^transformer_blocks_\d+_(attn_|ff_|norm1_)"), FLUX1),
    (
        re.compile(
            r"add_embedding|label_emb|_blocks_\d+_(attentions_)?\d+_transformer_blocks_[2-9]"
        ),
        SDXL,
    ),
)
# Names of FLUX.1's that FLUX.2 and Qwen-Image do not have.
FLUX1_LAYERS = re.compile(
    r"single_transformer_blocks_\d+_(attn_to_(q|k|v|qkv)$|proj_|norm_)|_ff(_context)?_net_"
    r"|_norm1(_context)?_linear|_(img|txt)_mod_lin|single_blocks_\d+_(modulation|linear1_qkv)"
    r"|time_text_embed_(text|guidance)|vector_in_"
)
# How many times wider than the model a layer's other side is, by the original transformer's names:
# FLUX.2's feed-forward layers are gated and three wide, FLUX.1's four.
RATIOS = (
    (re.compile(r"single_blocks_\d+_linear1$"), {9: FLUX2, 7: FLUX1}),
    (re.compile(r"single_blocks_\d+_linear2$"), {4: FLUX2, 5: FLUX1}),
    (re.compile(r"double_blocks_\d+_(img|txt)_mlp_0$"), {6: FLUX2, 4: FLUX1}),
    (re.compile(r"double_blocks_\d+_(img|txt)_mlp_2$"), {3: FLUX2, 4: FLUX1}),
)
# The smaller side of a block's layer is the model's width. Those of the models whose blocks
# FLUX.1's names fit.
FLUX_BLOCKS = re.compile(r"^(?:(?:single|double)_blocks|(?:single_)?transformer_blocks)_\d+_")
FLUX_WIDTH = 3072  # FLUX.2 klein 4B's and Qwen-Image's too
WIDTHS = {4096: KLEIN_9B, 6144: FLUX2_DEV, 1536: SD3, 2432: SD3}
# Numbers of double and single blocks where the width is FLUX.1's own; it has 19 and 38.
DEPTHS = {(5, 20): KLEIN_4B, (20, 40): HUNYUAN, (60, 0): QWEN}
LUMINA2_WIDTH = 2304
# Width of the text that a U-Net's cross-attention reads.
TEXT_WIDTHS = {768: SD1, 1024: SD2, 2048: SDXL}
CROSS_ATTENTION = re.compile(r"attn2_to_[kv]$")
U_NET_BLOCKS = re.compile(r"^((down|up|input|output)_blocks_\d+|(mid|middle)_block)_")


def lora_base(header: Mapping[str, Any]) -> Base | None:
    """The base model that a LoRA is for; None when nothing tells it: loading it will show."""
    sizes = _sizes(header)
    layers = [layer for part, layer in sizes if part == DENOISER]
    named = next(
        (base for pattern, base in LAYERS if any(pattern.search(layer) for layer in layers)), None
    )
    by_layer = {layer: sizes[DENOISER, layer] for layer in layers}
    if named == FLUX1:
        named = _of_flux_form(by_layer)
    elif named == FLUX2:
        named = _of_flux2(by_layer)
    elif named == Z_IMAGE and LUMINA2_WIDTH in {min(size) for size in by_layer.values()}:
        named = LUMINA2
    metadata = header.get("__metadata__") or {}
    declared = next(
        (
            base
            for field in FIELDS
            for word, base in DECLARED
            if str(metadata.get(field, "")).lower().startswith(word)
        ),
        None,
    )
    if declared == FLUX2:
        declared = _of_flux2(by_layer)
    # Names that another model alone has say more than a label does: trainers label FLUX.2 "flux".
    if named is not None and named not in (FLUX1, SDXL, *UNDECIDED.values()):
        return named
    if declared or named:
        return declared or named
    if any(part == "text_encoder_2" for part, _ in sizes):
        return SDXL
    for (part, layer), (_, width) in sizes.items():
        if part == DENOISER and CROSS_ATTENTION.search(layer) and width in TEXT_WIDTHS:
            return TEXT_WIDTHS[width]
    return U_NET if any(U_NET_BLOCKS.match(layer) for layer in layers) else None


def _of_flux_form(sizes: Mapping[str, tuple[int, int]]) -> Base:
    """FLUX.1, or the model that shares its layers' names, or those among which they leave the
    choice.
    """
    for layer, size in sizes.items():
        for pattern, models in RATIOS:
            ratio, rest = divmod(max(size), min(size) or 1)
            if pattern.search(layer) and not rest and ratio in models:
                return FLUX1 if models[ratio] == FLUX1 else _of_flux2(sizes)
    widths = _widths(sizes)
    doubles = _blocks(sizes, r"^(?:double_blocks|transformer_blocks)_(\d+)_")
    singles = _blocks(sizes, r"^(?:single_blocks|single_transformer_blocks)_(\d+)_")
    known = [WIDTHS[width] for width in widths if width in WIDTHS]
    if known:
        return known[0]
    depth = (_depth(doubles), _depth(singles))
    if depth in DEPTHS:
        return DEPTHS[depth]
    if any(FLUX1_LAYERS.search(layer) for layer in sizes):
        return FLUX1
    klein = FLUX_WIDTH not in widths or (
        max(doubles, default=0) < 5 and max(singles, default=0) < 20
    )
    qwen = not singles and not any(layer.startswith("double_blocks") for layer in sizes)
    return UNDECIDED[klein, qwen]


def _of_flux2(sizes: Mapping[str, tuple[int, int]]) -> Base:
    """The model of FLUX.2, by its width."""
    models = {FLUX_WIDTH: KLEIN_4B, **WIDTHS}
    return next((models[width] for width in _widths(sizes) if width in models), FLUX2)


def _widths(sizes: Mapping[str, tuple[int, int]]) -> list[int]:
    return [min(size) for layer, size in sizes.items() if FLUX_BLOCKS.match(layer)]


def _blocks(layers: Collection[str], pattern: str) -> set[int]:
    """The numbers of the blocks that layers are in."""
    return {int(match[1]) for layer in layers if (match := re.match(pattern, layer))}


def _depth(blocks: set[int]) -> int:
    """How many blocks there are, when they are the first ones without a gap; else 0."""
    return len(blocks) if blocks == set(range(len(blocks))) else 0


def _sizes(header: Mapping[str, Any]) -> dict[tuple[str, str], tuple[int, int]]:
    """Outputs and inputs of each layer, by part and name; 0 for what the shapes do not tell."""
    shapes: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(dict)
    for name in tensor_names(dict(header)):
        key = split_key(name)
        if key:
            shapes[key.part, key.layer][key.role] = header[name]["shape"]
    return {place: _size(roles) for place, roles in shapes.items()}


def _size(roles: Mapping[str, list[int]]) -> tuple[int, int]:
    down, up = roles.get("down"), roles.get("up")
    if down and up:
        return up[0], down[1] if len(down) > 1 else 0
    if "hada_w1_a" in roles and "hada_w1_b" in roles and "hada_t1" not in roles:
        return roles["hada_w1_a"][0], roles["hada_w1_b"][-1]
    if "lokr_t2" not in roles and any(role.startswith("lokr_") for role in roles):
        factors = [_factor(roles, name) for name in ("lokr_w1", "lokr_w2")]
        return prod(out for out, _ in factors), prod(width for _, width in factors)
    diff = roles.get("diff", [])
    return (diff[0], diff[1]) if len(diff) > 1 else (0, 0)


def _factor(roles: Mapping[str, list[int]], name: str) -> tuple[int, int]:
    whole, left, right = (roles.get(key) for key in (name, f"{name}_a", f"{name}_b"))
    if whole and len(whole) > 1:
        return whole[0], whole[1]
    return (left[0], right[-1]) if left and right else (0, 0)
