"""The original transformers' names of layers, which ComfyUI and most trainers give LoRAs of FLUX.1,
FLUX.2 and Z-Image, for diffusers' names.

In Black Forest Labs' transformers one layer gives queries, keys and values; in ComfyUI's Z-Image
too, whose LoRAs are mostly in diffusers' names all the same. Qwen-Image has one set of names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

# The original layer's name with underscores, and the modules of diffusers' that share its output
# rows, from the first row down.
Members = Mapping[str, tuple[str, ...]]


class Original(NamedTuple):
    """A transformer's names. blocks: by what diffusers' blocks are called, what the original's are,
    and their layers. outside: the layers of no block. swapped: the one whose halves, shift and
    scale, stand the other way round in diffusers.
    """

    blocks: Mapping[str, tuple[str, Members]]
    outside: Mapping[str, str]
    swapped: str = ""

    def layers(self, modules: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Each original layer outside of blocks and in the blocks that `modules` are in, with its
        modules, which need not be among them.
        """
        found = (re.match(r"(\w+)\.(\d+)\.", module) for module in modules)
        for stem, number in sorted({(match[1], int(match[2])) for match in found if match}):
            original, layers = self.blocks.get(stem, ("", {}))
            for name, members in layers.items():
                yield (
                    f"{original}_{number}_{name}",
                    tuple(f"{stem}.{number}.{member}" for member in members),
                )
        for name, member in self.outside.items():
            yield name, (member,)


ATTENTION: Members = {
    "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "img_attn_proj": ("attn.to_out.0",),
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "txt_attn_proj": ("attn.to_add_out",),
}
SINGLE = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
NORM_OUT = "final_layer_adaLN_modulation_1"
FLUX1 = Original(
    {
        "transformer_blocks": (
            "double_blocks",
            {
                **ATTENTION,
                "img_mlp_0": ("ff.net.0.proj",),
                "img_mlp_2": ("ff.net.2",),
                "txt_mlp_0": ("ff_context.net.0.proj",),
                "txt_mlp_2": ("ff_context.net.2",),
                "img_mod_lin": ("norm1.linear",),
                "txt_mod_lin": ("norm1_context.linear",),
            },
        ),
        "single_transformer_blocks": (
            "single_blocks",
            {
                "linear1": SINGLE,
                "linear1_qkv": SINGLE[:3],  # XLabs trains these rows alone
                "linear2": ("proj_out",),
                "modulation_lin": ("norm.linear",),
            },
        ),
    },
    {
        "img_in": "x_embedder",
        "txt_in": "context_embedder",
        "time_in_in_layer": "time_text_embed.timestep_embedder.linear_1",
        "time_in_out_layer": "time_text_embed.timestep_embedder.linear_2",
        "vector_in_in_layer": "time_text_embed.text_embedder.linear_1",
        "vector_in_out_layer": "time_text_embed.text_embedder.linear_2",
        "guidance_in_in_layer": "time_text_embed.guidance_embedder.linear_1",
        "guidance_in_out_layer": "time_text_embed.guidance_embedder.linear_2",
        "final_layer_linear": "proj_out",
        NORM_OUT: "norm_out.linear",
    },
    swapped=NORM_OUT,
)
FLUX2 = Original(
    {
        "transformer_blocks": (
            "double_blocks",
            {
                **ATTENTION,
                "img_mlp_0": ("ff.linear_in",),
                "img_mlp_2": ("ff.linear_out",),
                "txt_mlp_0": ("ff_context.linear_in",),
                "txt_mlp_2": ("ff_context.linear_out",),
            },
        ),
        "single_transformer_blocks": (
            "single_blocks",
            {"linear1": ("attn.to_qkv_mlp_proj",), "linear2": ("attn.to_out",)},
        ),
    },
    {
        "img_in": "x_embedder",
        "txt_in": "context_embedder",
        "time_in_in_layer": "time_guidance_embed.timestep_embedder.linear_1",
        "time_in_out_layer": "time_guidance_embed.timestep_embedder.linear_2",
        "guidance_in_in_layer": "time_guidance_embed.guidance_embedder.linear_1",
        "guidance_in_out_layer": "time_guidance_embed.guidance_embedder.linear_2",
        "double_stream_modulation_img_lin": "double_stream_modulation_img.linear",
        "double_stream_modulation_txt_lin": "double_stream_modulation_txt.linear",
        "single_stream_modulation_lin": "single_stream_modulation.linear",
        "final_layer_linear": "proj_out",
        NORM_OUT: "norm_out.linear",
    },
    swapped=NORM_OUT,
)
Z_IMAGE_BLOCK: Members = {
    "attention_qkv": ("attention.to_q", "attention.to_k", "attention.to_v"),
    "attention_out": ("attention.to_out.0",),
    "attention_q_norm": ("attention.norm_q",),
    "attention_k_norm": ("attention.norm_k",),
}
Z_IMAGE = Original(
    {stem: (stem, Z_IMAGE_BLOCK) for stem in ("layers", "noise_refiner", "context_refiner")},
    {
        "x_embedder": "all_x_embedder.2-1",
        "final_layer_linear": "all_final_layer.2-1.linear",
        NORM_OUT: "all_final_layer.2-1.adaLN_modulation.1",
    },
)
