"""The original U-Net's and transformer's names of layers, which SDXL's and FLUX's LoRAs of kohya's
sd-scripts, ComfyUI and most others carry, for diffusers' names.

Stability's U-Net numbers its blocks through, with one more a level for the change of size; in Black
Forest Labs' transformer one layer gives queries, keys and values.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

# Inside a ResNet block of the U-Net, by diffusers' names.
RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
# FLUX: the original layer, and the places of diffusers' layers in its output rows.
FLUX_DOUBLE = {
    "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "img_attn_proj": ("attn.to_out.0",),
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "txt_attn_proj": ("attn.to_add_out",),
    "img_mlp_0": ("ff.net.0.proj",),
    "img_mlp_2": ("ff.net.2",),
    "txt_mlp_0": ("ff_context.net.0.proj",),
    "txt_mlp_2": ("ff_context.net.2",),
}
FLUX_MODULATION = {"img_mod_lin": ("norm1.linear",), "txt_mod_lin": ("norm1_context.linear",)}
FLUX_SINGLE = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
FLUX_SINGLE_LAYERS = {
    "linear1": FLUX_SINGLE,
    "linear1_qkv": FLUX_SINGLE[:3],  # XLabs trains these rows alone
    "linear2": ("proj_out",),
    "modulation_lin": ("norm.linear",),
}
FLUX_OUTSIDE = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in_in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in_out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in_in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in_out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in_in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in_out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer_linear": "proj_out",
}
# Its output's halves, shift and scale, stand the other way round in diffusers.
FLUX_SWAPPED = ("final_layer_adaLN_modulation_1", "norm_out.linear")


def sgm_name(name: str, layers_per_block: int, modules: Collection[str] = ()) -> str:
    """The original U-Net's name of a module that diffusers calls `name`; the same name where there
    is no other.

    modules: the names of all, which place the layers that enlarge: behind attention or not.
    """
    if name in OUTSIDE:
        return OUTSIDE[name]
    size = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(?:down|up)samplers\.0\.conv", name)
    if size:
        number = (int(size[2]) + 1) * (layers_per_block + 1)
        if size[1] == "down":
            return f"input_blocks.{number}.0.op"
        attention = any(one.startswith(f"up_blocks.{size[2]}.attentions.") for one in modules)
        return f"output_blocks.{number - 1}.{1 + attention}.conv"
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", name)
    if found:
        way, block, kind, layer, inner = found.groups()
        number = int(block) * (layers_per_block + 1) + int(layer) + (way == "down")
        start = (
            f"{'input' if way == 'down' else 'output'}_blocks.{number}.{int(kind == 'attentions')}"
        )
    else:
        found = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", name)
        if not found:
            return name
        kind, layer, inner = found.groups()
        start = f"middle_block.{1 if kind == 'attentions' else 2 * int(layer)}"
    return f"{start}.{RESNET.get(inner, inner) if kind == 'resnets' else inner}"


def flux_layers(doubles: int, singles: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each of the original transformer's layers, with underscores, and the modules of diffusers'
    that share its output rows, from the first row down.
    """
    for block in range(doubles):
        for original, members in (FLUX_DOUBLE | FLUX_MODULATION).items():
            yield (
                f"double_blocks_{block}_{original}",
                tuple(f"transformer_blocks.{block}.{member}" for member in members),
            )
    for block in range(singles):
        for original, members in FLUX_SINGLE_LAYERS.items():
            yield (
                f"single_blocks_{block}_{original}",
                tuple(f"single_transformer_blocks.{block}.{member}" for member in members),
            )
    for original, member in FLUX_OUTSIDE.items():
        yield original, (member,)
