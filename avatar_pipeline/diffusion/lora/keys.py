"""Names of a LoRA file's tensors, taken apart: part of the pipeline, layer, role in the layer.

Nearly every trainer has its own: kohya's sd-scripts (lora_unet_..., lora_down), LyCORIS (hada_,
lokr_), OneTrainer (lora_transformer_..., lora_te1_), PEFT and diffusers of all ages (lora_A,
processor.to_q_lora.down), ai-toolkit and ComfyUI (diffusion_model....), XLabs (qkv_lora1). Layers
are named with underscores for the dots here: kohya's files have nothing else.
"""

from __future__ import annotations

import re
from typing import NamedTuple

DENOISER = "denoiser"


class Key(NamedTuple):
    """A tensor's place. part: "denoiser", "text_encoder", "text_encoder_2" or "text_encoder_3".
    layer: its name with underscores. role: "down", "up", "alpha", "hada_w1_a" ... dotted: the
    layer's name as the file has it.
    """

    part: str
    layer: str
    role: str
    dotted: str


# OneTrainer's vectors of a word, bundled with the LoRA.
BUNDLED_WORD = re.compile(r"^bundle_emb\.(?P<word>.+?)\.(?P<encoder>[a-z0-9_]+)(\.\*)?$")

SIDES = {"down": "down", "A": "down", "up": "up", "B": "up"}
NAMED = r"(\.(?!weight$)\w+)?"  # PEFT's name of the adapter, where it was left in
TENSORS = re.compile(
    rf"^(?P<layer>.+?)(?:"
    rf"\.lora_(?P<side>down|up|A|B){NAMED}\.weight"
    rf"|\.lora(?:_linear_layer)?\.(?P<inner>down|up)\.weight"
    rf"|_lora(?P<stream>[12]?)\.(?P<old>down|up)\.weight"
    rf"|\.lora_(?P<mid>mid)\.weight"
    rf"|\.lora_(?P<magnitude>magnitude_vector){NAMED}(?:\.weight)?"
    rf"|\.(?P<rest>alpha|dora_scale|scalar|diff|diff_b|w_norm|b_norm"
    rf"|hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t2)){NAMED}"
    rf")$"
)
# The parts of the pipeline, by what names begin with; the longer beginnings first.
PREFIXES = (
    ("lora_unet_", DENOISER),
    ("lora_transformer_", DENOISER),
    ("lycoris_", DENOISER),
    ("lora_te1_", "text_encoder"),
    ("lora_te2_", "text_encoder_2"),
    ("lora_te3_", "text_encoder_3"),
    ("lora_te_", "text_encoder"),
    ("text_encoders_clip_l_transformer_", "text_encoder"),
    ("text_encoders_clip_g_transformer_", "text_encoder_2"),
    ("text_encoders_t5xxl_transformer_", "text_encoder_3"),
    ("text_encoder_2_", "text_encoder_2"),
    ("text_encoder_3_", "text_encoder_3"),
    ("text_encoder_", "text_encoder"),
    ("model_diffusion_model_", DENOISER),
    ("diffusion_model_", DENOISER),
    ("unet_", DENOISER),
    ("transformer_", DENOISER),
)
# A text encoder alone, saved by PEFT: its layers' own names.
BARE = (
    ("text_model_", "text_encoder"),
    ("encoder_layers_", "text_encoder"),
    ("encoder_block_", "text_encoder_3"),
)
PEFT = "base_model.model."
# diffusers' attention processors of 2023, and XLabs' of FLUX.
OLD_LAYERS = (
    (re.compile(r"\.processor\.to_(q|k|v)$"), r".to_\1"),
    (re.compile(r"\.processor\.to_out$"), r".to_out.0"),
    (re.compile(r"\.processor\.add_(q|k|v)_proj$"), r".add_\1_proj"),
    (re.compile(r"\.processor\.to_add_out$"), r".to_add_out"),
    (re.compile(r"\.self_attn\.to_(q|k|v)$"), r".self_attn.\1_proj"),
    (re.compile(r"\.self_attn\.to_out$"), r".self_attn.out_proj"),
)
XLABS = re.compile(r"^(?P<block>.*(double|single)_blocks\.\d+)\.processor\.(?P<what>qkv|proj)$")

# Adapters of other mathematics: what they are, and what to do.
MERGED = "Merge it into the base model with its trainer, and give that model's folder as `model`."
UNSUPPORTED = (
    (re.compile(r"\.oft_|\.boft_|oft_blocks|_oft_"), ("an OFT or BOFT adapter", MERGED)),
    (re.compile(r"\.on_input$|\.ia3_l"), ("an (IA)^3 adapter", MERGED)),
    (re.compile(r"\.[ab][12]\.weight$"), ("a GLoRA adapter", MERGED)),
    (re.compile(r"\.vera_lambda|\.hra_u|\.waveft_|\.lora_E$"), ("an adapter of PEFT's", MERGED)),
    (
        re.compile(r"^lora_controlnet$"),
        ("a Control-LoRA, which steers the picture's form", "Give a LoRA of a person or style."),
    ),
    (
        re.compile(r"lora_embedding_[AB]|\.modules_to_save\.|\.lora_B(\.\w+)?\.bias$"),
        ("a LoRA with trained embeddings, biases or whole modules in it", MERGED),
    ),
    (
        re.compile(r"\.reshape_weight$|\.set_weight$"),
        ("an adapter that changes the shapes of layers", MERGED),
    ),
)


def unsupported_kind(name: str) -> tuple[str, str] | None:
    """What a tensor's name says that cannot be loaded, and what to do; None for all others."""
    return next((kind for pattern, kind in UNSUPPORTED if pattern.search(name)), None)


def split_key(name: str) -> Key | None:
    """A tensor's place by its name; None where no trainer known here names so."""
    found = TENSORS.match(name)
    if not found:
        return None
    layer, parts = found["layer"], found.groupdict()
    side = parts["side"] or parts["inner"] or parts["old"]
    role = SIDES[side] if side else parts["mid"] or parts["magnitude"] or parts["rest"]
    layer = layer.removeprefix(PEFT)
    xlabs = XLABS.match(layer)
    if xlabs:
        layer = _xlabs_layer(xlabs["block"], xlabs["what"], parts["stream"])
    for pattern, replacement in OLD_LAYERS:
        layer = pattern.sub(replacement, layer)
    flat = layer.replace(".", "_")
    for prefix, part in PREFIXES:
        # transformer_blocks_0_... is a layer of a transformer, not the part's name
        if flat.startswith(prefix) and not flat.startswith("transformer_blocks_"):
            return Key(part, flat[len(prefix) :], role, layer[len(prefix) :])
    bare = next((part for start, part in BARE if flat.startswith(start)), DENOISER)
    return Key(bare, flat, role, layer)


def _xlabs_layer(block: str, what: str, stream: str) -> str:
    """The original transformer's name of a layer that XLabs trained."""
    if stream:  # 1: the picture's, 2: the words'
        return f"{block}.{'img' if stream == '1' else 'txt'}_attn.{what}"
    return f"{block}.{'linear1_qkv' if what == 'qkv' else 'linear2'}"
