"""LoRA files as the trainers write them, for tiny pipelines, with what each must add to which
weight, computed here from the factors in float64.

Nothing of avatar_pipeline's reader is used: names are written down by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from safetensors.torch import save

from tests.support.lora_factors import Factors, Make

Where = tuple[str, str]  # part of the pipeline, module
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
# The original U-Net's names in the tiny SDXL, which has one layer a block and two levels.
SGM = {
    "down_blocks.0.resnets.0": "input_blocks.1.0",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    "down_blocks.1.resnets.0": "input_blocks.3.0",
    "down_blocks.1.attentions.0": "input_blocks.3.1",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "up_blocks.0.resnets.0": "output_blocks.0.0",
    "up_blocks.0.attentions.0": "output_blocks.0.1",
    "up_blocks.0.resnets.1": "output_blocks.1.0",
    "up_blocks.0.attentions.1": "output_blocks.1.1",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.1.2.conv",
    "up_blocks.1.resnets.0": "output_blocks.2.0",
    "up_blocks.1.resnets.1": "output_blocks.3.0",
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "add_embedding.linear_2": "label_emb.0.2",
    ".conv1": ".in_layers.2",
    ".conv2": ".out_layers.3",
    ".time_emb_proj": ".emb_layers.1",
    ".conv_shortcut": ".skip_connection",
}
# The original transformer's layers, and the modules that share their rows.
FLUX = {
    f"double_blocks.{block}.{original}": [f"transformer_blocks.{block}.{name}" for name in names]
    for block in range(2)
    for original, names in {
        "img_attn.qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
        "img_attn.proj": ["attn.to_out.0"],
        "txt_attn.qkv": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
        "txt_attn.proj": ["attn.to_add_out"],
        "img_mlp.0": ["ff.net.0.proj"],
        "txt_mlp.2": ["ff_context.net.2"],
        "img_mod.lin": ["norm1.linear"],
    }.items()
} | {
    f"single_blocks.{block}.{original}": [
        f"single_transformer_blocks.{block}.{name}" for name in names
    ]
    for block in range(2)
    for original, names in {
        "linear1": ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"],
        "linear2": ["proj_out"],
        "modulation.lin": ["norm.linear"],
    }.items()
}


@dataclass
class Written:
    """A file: its tensors and metadata; what it must add to each weight (float64), by part and
    module; its new words, by part.
    """

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    added: dict[Where, torch.Tensor] = field(default_factory=dict)
    words: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)

    def data(self) -> bytes:
        """The file."""
        return save(
            {name: value.contiguous() for name, value in self.tensors.items()},
            self.metadata or None,
        )


def denoiser_of(pipeline: Any) -> str:
    """The name of the part that is trained."""
    return "transformer" if hasattr(pipeline, "transformer") else "unet"


def targets(pipeline: Any, part: str, ends: tuple[str, ...]) -> list[str]:
    """The modules of a part whose names end so."""
    names = [name for name, _ in getattr(pipeline, part).named_modules()]
    return [name for name in names if name.endswith(tuple(f".{end}" for end in ends))]


class Writer:
    """Writes layers under a convention's names into one file.

    make: the factors of a layer by its shape, base weight and number. named: the whole beginning of
    a tensor's name, by part and module. sides: what the factors are called.
    """

    def __init__(self, pipeline: Any, seed: int = 0) -> None:
        self.pipeline = pipeline
        self.random = torch.Generator().manual_seed(seed)
        self.file = Written()
        self.count = 0

    def add(
        self,
        name: str,
        part: str,
        modules: list[str],
        make: Make,
        renamed: Callable[[str], str] = lambda role: f".{role}",
    ) -> Factors:
        """One layer of the file, called `name`, for one module or several below each other."""
        weights = [
            getattr(self.pipeline, part).get_submodule(module).weight.detach() for module in modules
        ]
        base = torch.cat(weights).double()
        factors = make(base, self.random, self.count)
        self.count += 1
        self.file.tensors |= {
            f"{name}{renamed(role)}": value for role, value in factors.tensors.items()
        }
        parts = factors.added.split([len(weight) for weight in weights])
        self.file.added |= {(part, module): own for module, own in zip(modules, parts, strict=True)}
        return factors


def kohya(
    pipeline: Any, make: Make, ends: tuple[str, ...] = ATTENTION, prefix: str = "lora_unet_"
) -> Written:
    """sd-scripts' names: SDXL's and FLUX' are the original models'."""
    writer = Writer(pipeline)
    part = denoiser_of(pipeline)
    for name, modules in original_layers(pipeline, ends):
        writer.add(prefix + name.replace(".", "_"), part, modules, make)
    return writer.file


def original_layers(pipeline: Any, ends: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    """The denoiser's layers under the names that sd-scripts and ComfyUI give them."""
    part = denoiser_of(pipeline)
    if part == "transformer":
        return list(FLUX.items())
    names = targets(pipeline, part, ends)
    names += [name for name in ends if name in ("conv_in", "conv_out")]
    if not hasattr(pipeline, "text_encoder_2"):
        return [(name, [name]) for name in names]
    return [(_sgm(name), [name]) for name in names]


def _sgm(name: str) -> str:
    for here, original in SGM.items():
        if name.startswith(here) or (here.startswith(".") and name.endswith(here)):
            name = name.replace(here, original)
    return name


def dotted(
    pipeline: Any,
    make: Make,
    ends: tuple[str, ...] = ATTENTION,
    prefix: str | None = None,
    renamed: Callable[[str], str] | None = None,
    part: str = "",
) -> Written:
    """diffusers' names of modules behind a prefix, by default the part's name."""
    writer = Writer(pipeline)
    part = part or denoiser_of(pipeline)
    start = f"{part}." if prefix is None else prefix
    for module in targets(pipeline, part, ends):
        if renamed:
            writer.add(start + module, part, [module], make, renamed)
        else:
            writer.add(start + module, part, [module], make, peft_role)
    return writer.file


def peft_role(role: str) -> str:
    """PEFT's and diffusers' name of a tensor."""
    return {
        "lora_down.weight": ".lora_A.weight",
        "lora_up.weight": ".lora_B.weight",
        "dora_scale": ".lora_magnitude_vector",
    }.get(role, f".{role}")


def old_role(role: str) -> str:
    """Of diffusers 0.2x, beside `to_q`."""
    return {"lora_down.weight": ".lora.down.weight", "lora_up.weight": ".lora.up.weight"}[role]


def attention_processors(pipeline: Any, make: Make) -> Written:
    """diffusers' of 2023: attn1.processor.to_q_lora.down.weight."""
    writer, part = Writer(pipeline), denoiser_of(pipeline)
    for module in targets(pipeline, part, ATTENTION):
        layer, _, which = module.removesuffix(".0").rpartition(".")
        writer.add(
            f"{part}.{layer}.processor.{which}_lora",
            part,
            [module],
            make,
            lambda role: f".{role.removeprefix('lora_')}",
        )
    return writer.file


def xlabs(pipeline: Any, make: Make) -> Written:
    """XLabs' of FLUX: its processors, of the original transformer's blocks."""
    writer = Writer(pipeline)

    def add(name: str, modules: list[str]) -> None:
        writer.add(
            name, "transformer", modules, make, lambda role: f".{role.removeprefix('lora_')}"
        )

    for block in range(2):
        for number, stream in enumerate(("img", "txt"), 1):
            for what in ("qkv", "proj"):
                add(
                    f"double_blocks.{block}.processor.{what}_lora{number}",
                    FLUX[f"double_blocks.{block}.{stream}_attn.{what}"],
                )
        add(f"single_blocks.{block}.processor.qkv_lora", FLUX[f"single_blocks.{block}.linear1"][:3])
        add(f"single_blocks.{block}.processor.proj_lora", FLUX[f"single_blocks.{block}.linear2"])
    return writer.file


def comfy(pipeline: Any, make: Make) -> Written:
    """ComfyUI's and Black Forest Labs' names: diffusion_model.double_blocks.0.img_attn.qkv."""
    writer, part = Writer(pipeline), denoiser_of(pipeline)
    for name, modules in original_layers(pipeline, ATTENTION):
        writer.add(f"diffusion_model.{name}", part, modules, make, peft_role)
    return writer.file


def text_encoders(pipeline: Any, prefixes: Mapping[str, str], kohyas: bool, make: Make) -> Written:
    """The text encoders' half: prefixes by part."""
    file = Written()
    for part, prefix in prefixes.items():
        writer = Writer(pipeline, seed=len(part))
        ends = ("q_proj", "v_proj", "out_proj", "fc1", "q", "wo")
        for module in targets(pipeline, part, ends):
            clip = type(getattr(pipeline, part)).__name__.startswith("CLIP")
            # transformers 5 has dropped the model's name, files have it
            name = f"text_model.{module.removeprefix('text_model.')}" if clip else module
            if kohyas:
                writer.add(prefix + name.replace(".", "_"), part, [module], make)
            else:
                writer.add(prefix + name, part, [module], make, peft_role)
        file = joined(file, writer.file)
    return file


def joined(one: Written, other: Written) -> Written:
    """Both files in one."""
    return Written(
        one.tensors | other.tensors,
        one.metadata | other.metadata,
        one.added | other.added,
        one.words | other.words,
    )


def with_words(file: Written, pipeline: Any, word: str = "ohwx") -> Written:
    """OneTrainer's bundle: vectors of a word in it."""
    encoders = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
    if not hasattr(pipeline, "text_encoder_2"):
        encoders = {"text_encoder": "string_to_params"}
    elif hasattr(pipeline, "transformer"):
        encoders = {"text_encoder": "clip_l", "text_encoder_2": "t5"}
    tensors, words = {}, {}
    for part, name in encoders.items():
        width = getattr(pipeline, part).get_input_embeddings().weight.shape[1]
        vectors = torch.randn(2, width, generator=torch.Generator().manual_seed(len(part)))
        tensors[f"bundle_emb.{word}.{name}"] = vectors
        words[part] = {word: vectors[0], f"{word}_1": vectors[1]}
    return replace(file, tensors=file.tensors | tensors, words=words)
