"""Tiny transformers of FLUX.2, Z-Image and Qwen-Image, and LoRA files for them as the trainers
write them, with what each must add to which weight.

As in lora_conventions.py, names are written down by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import diffusers
import torch

from avatar_pipeline.diffusion.lora.bases import lora_base
from avatar_pipeline.diffusion.lora.changes import changes_of
from avatar_pipeline.diffusion.lora.header import ADAPTER, read_header
from avatar_pipeline.diffusion.lora.insert import insert
from avatar_pipeline.diffusion.lora.layers import read_layers
from avatar_pipeline.diffusion.lora.modules import ModuleIndex
from avatar_pipeline.diffusion.training.files import read
from tests.support.lora_conventions import Writer, Written, peft_role
from tests.support.lora_factors import Make, lokr, lora

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
Layers = Mapping[str, Sequence[str]]
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
