"""Tiny transformers of FLUX.2, Z-Image and Qwen-Image, the names that LoRA files give their layers,
written down by hand, and what a file changes in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import torch

from avatar_pipeline.diffusion.lora.bases import lora_base
from avatar_pipeline.diffusion.lora.changes import changes_of
from avatar_pipeline.diffusion.lora.header import ADAPTER, read_header
from avatar_pipeline.diffusion.lora.insert import insert
from avatar_pipeline.diffusion.lora.layers import read_layers
from avatar_pipeline.diffusion.lora.modules import ModuleIndex
from avatar_pipeline.diffusion.training.files import read
from tests.support.lora_conventions import Writer, Written
from tests.support.lora_factors import Make

PIPELINES = {
    "flux2": diffusers.Flux2KleinPipeline,
    "z_image": diffusers.ZImagePipeline,
    "qwen_image": diffusers.QwenImagePipeline,
}


def transformer(family: str) -> Any:
    """A transformer of two blocks of each kind, random weights from a fixed seed."""
    torch.manual_seed(0)
    if family == "flux2":
        return diffusers.Flux2Transformer2DModel(
            in_channels=16,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=12,
            timestep_guidance_channels=16,
            axes_dims_rope=(2, 2, 2, 2),
            guidance_embeds=False,
        )
    if family == "z_image":
        return diffusers.ZImageTransformer2DModel(
            in_channels=4,
            dim=32,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=12,
            axes_dims=[4, 6, 6],
            axes_lens=[16, 16, 16],
        )
    return diffusers.QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        axes_dims_rope=(2, 2, 4),
    )


QKV = ["to_q", "to_k", "to_v"]
ADDED = ["add_q_proj", "add_k_proj", "add_v_proj"]
Layers = dict[str, list[str]]
# The layers of a file by the original transformers' names, and the modules that share their rows.
FLUX2: Layers = {
    f"double_blocks.{block}.{name}": [f"transformer_blocks.{block}.{member}" for member in members]
    for block in range(2)
    for name, members in {
        "img_attn.qkv": [f"attn.{name}" for name in QKV],
        "img_attn.proj": ["attn.to_out.0"],
        "txt_attn.qkv": [f"attn.{name}" for name in ADDED],
        "txt_attn.proj": ["attn.to_add_out"],
        "img_mlp.0": ["ff.linear_in"],
        "img_mlp.2": ["ff.linear_out"],
        "txt_mlp.0": ["ff_context.linear_in"],
        "txt_mlp.2": ["ff_context.linear_out"],
    }.items()
} | {
    f"single_blocks.{block}.{name}": [f"single_transformer_blocks.{block}.attn.{member}"]
    for block in range(2)
    for name, member in {"linear1": "to_qkv_mlp_proj", "linear2": "to_out"}.items()
}
FLUX2_OUTSIDE: Layers = {
    "img_in": ["x_embedder"],
    "txt_in": ["context_embedder"],
    "time_in.in_layer": ["time_guidance_embed.timestep_embedder.linear_1"],
    "time_in.out_layer": ["time_guidance_embed.timestep_embedder.linear_2"],
    "final_layer.linear": ["proj_out"],
}
FLUX2_MODULATION: Layers = {
    "double_stream_modulation_img.lin": ["double_stream_modulation_img.linear"],
    "double_stream_modulation_txt.lin": ["double_stream_modulation_txt.linear"],
    "single_stream_modulation.lin": ["single_stream_modulation.linear"],
}
Z_IMAGE_BLOCKS = ("layers.0", "layers.1", "noise_refiner.0", "context_refiner.0")
Z_IMAGE: Layers = {
    f"{block}.{name}": [f"{block}.{member}" for member in members]
    for block in Z_IMAGE_BLOCKS
    for name, members in {
        "attention.qkv": [f"attention.{name}" for name in QKV],
        "attention.out": ["attention.to_out.0"],
        "feed_forward.w1": ["feed_forward.w1"],
        "feed_forward.w2": ["feed_forward.w2"],
        "feed_forward.w3": ["feed_forward.w3"],
    }.items()
}
Z_IMAGE_OUTSIDE: Layers = {
    "x_embedder": ["all_x_embedder.2-1"],
    "final_layer.linear": ["all_final_layer.2-1.linear"],
    "final_layer.adaLN_modulation.1": ["all_final_layer.2-1.adaLN_modulation.1"],
    "cap_embedder.1": ["cap_embedder.1"],
    "t_embedder.mlp.0": ["t_embedder.mlp.0"],
    "layers.0.adaLN_modulation.0": ["layers.0.adaLN_modulation.0"],
}
QWEN_IMAGE_BLOCK = [
    *(f"attn.{name}" for name in (*QKV, *ADDED, "to_out.0", "to_add_out")),
    *(f"{stream}_mlp.net.{name}" for stream in ("img", "txt") for name in ("0.proj", "2")),
    *("img_mod.1", "txt_mod.1"),
]
QWEN_IMAGE = [
    f"transformer_blocks.{block}.{name}" for block in range(2) for name in QWEN_IMAGE_BLOCK
]
OUTSIDE = ("img_in", "txt_in", "proj_out", "norm_out.linear")
MODULES = {
    "flux2": [module for modules in FLUX2.values() for module in modules],
    "z_image": [module for modules in Z_IMAGE.values() for module in modules],
    "qwen_image": [*QWEN_IMAGE, *OUTSIDE],
}


def single(modules: Sequence[str]) -> Layers:
    """The modules, each a layer by its own name."""
    return {module: [module] for module in modules}


def own(role: str) -> str:
    """sd-scripts' names of tensors."""
    return f".{role}"


def written(
    model: Any,
    layers: Layers,
    make: Make,
    prefix: str,
    role: Callable[[str], str] = own,
    flat: bool = False,
) -> Written:
    """A file of these layers. flat: with underscores for the dots."""
    writer = Writer(SimpleNamespace(transformer=model))
    for name, modules in layers.items():
        called = name.replace(".", "_") if flat else name
        writer.add(prefix + called, "transformer", list(modules), make, role)
    return writer.file


def base_of(data: bytes) -> Any:
    """The base model that a file is for."""
    return lora_base(read_header(data))


def put_in(model: Any, data: bytes, stack: ExitStack) -> list[Any]:
    """Put a file's layers at the transformer as `applied` does, to be taken out by `stack`; return
    the layers without a place.
    """
    file = read_layers(*read(data))
    assert not file.unknown
    index, changes, homeless = ModuleIndex(model), [], []
    for layer in file.layers:
        own = changes_of(layer, index, whole_dora=False)
        changes += own
        if not own:
            homeless.append(layer)
    stack.callback(insert(model, changes))
    return homeless


def deltas(model: Any, adapter: str = ADAPTER) -> dict[str, torch.Tensor]:
    """What PEFT's layers add to each weight, in float64."""
    with torch.no_grad():
        return {
            name: module.double().get_delta_weight(adapter).clone()
            for name, module in model.named_modules()
            if hasattr(module, "get_delta_weight")
        }


def deltas_by_diffusers(family: str, data: bytes, folder: Path) -> dict[str, torch.Tensor]:
    """The same, loaded by diffusers as load_lora_weights does it."""
    path = folder / "lora.safetensors"
    path.write_bytes(data)
    model, pipeline = transformer(family), PIPELINES[family]
    state, metadata = pipeline.lora_state_dict(path, return_lora_metadata=True)
    pipeline.load_lora_into_transformer(
        state, transformer=model, adapter_name="theirs", metadata=metadata
    )
    return deltas(model, "theirs")
