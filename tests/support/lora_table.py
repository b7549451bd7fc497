"""The conventions of LoRA files by family of models: a file for each, and how exactly it is taken.

The rows are the table of docs/lora-files.md, which benchmarks/lora_conventions.py writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from avatar_pipeline.diffusion.folding import unfolded
from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.session import PipelineSession
from tests.support.lora_conventions import (
    ATTENTION,
    Where,
    Written,
    attention_processors,
    comfy,
    denoiser_of,
    dotted,
    joined,
    kohya,
    old_role,
    text_encoders,
    with_words,
    xlabs,
)
from tests.support.lora_factors import difference, dora, loha, lokr, lora

FAMILIES = ("sd", "sd2", "sdxl", "flux")
U_NETS = ("sd", "sd2", "sdxl")
CONVOLUTIONS = (
    *ATTENTION,
    *("conv1", "conv2", "conv_shortcut", "conv", "conv_in", "conv_out", "proj_in", "time_emb_proj"),
)

Build = Callable[[Any], Written]


class Row(NamedTuple):
    """A convention: its name for people, its file for a pipeline, and the families that have it."""

    name: str
    build: Build
    families: tuple[str, ...] = FAMILIES


def _is_flux(pipeline: Any) -> bool:
    return denoiser_of(pipeline) == "transformer"


def _metadata(part: str, **settings: Any) -> dict[str, str]:
    return {
        "lora_adapter_metadata": json.dumps(
            {f"{part}.{name}": value for name, value in settings.items()}
        )
    }


def _diffusers(pipeline: Any, make: Any = None) -> Written:
    """alpha in the metadata, and not in a tensor."""
    part = denoiser_of(pipeline)
    file = dotted(pipeline, make or lora(4, 6.0))
    tensors = {name: value for name, value in file.tensors.items() if not name.endswith(".alpha")}
    return replace(file, tensors=tensors, metadata=_metadata(part, r=4, lora_alpha=6))


def _patterns(pipeline: Any) -> Written:
    """Ranks and alphas of their own in diffusers' metadata."""
    file = dotted(pipeline, lora(None, None))
    alphas = {
        name.removesuffix(".alpha").partition(".")[2]: float(value)
        for name, value in file.tensors.items()
        if name.endswith(".alpha")
    }
    tensors = {name: value for name, value in file.tensors.items() if not name.endswith(".alpha")}
    settings = _metadata(denoiser_of(pipeline), r=4, lora_alpha=99, alpha_pattern=alphas)
    return replace(file, tensors=tensors, metadata=settings)


def _onetrainer(pipeline: Any) -> Written:
    if not _is_flux(pipeline):
        return kohya(pipeline, lora(4, 2.0))
    file = dotted(pipeline, lora(4, 2.0), prefix="", renamed=lambda role: f".{role}")
    tensors = {}
    for name, value in file.tensors.items():
        end = next(
            end for end in ("lora_down.weight", "lora_up.weight", "alpha") if name.endswith(end)
        )
        layer = name.removesuffix(f".{end}").replace(".", "_")
        tensors[f"lora_transformer_{layer}.{end}"] = value
    return replace(file, tensors=tensors)


def _ai_toolkit(pipeline: Any) -> Written:
    if _is_flux(pipeline):
        return dotted(pipeline, lora(4, 0))
    file = kohya(pipeline, lora(4, 2.0))
    versions = {"sd": "sd_1.5", "sdxl": "sdxl_1.0"}
    version = versions["sdxl" if hasattr(pipeline, "text_encoder_2") else "sd"]
    return replace(file, metadata={"ss_base_model_version": version})


def _huge_alpha(pipeline: Any) -> Written:
    """ai-toolkit's LoKr in float16: its alpha of 9999999999 is infinity there, and says nothing."""
    file = kohya(pipeline, lokr(), CONVOLUTIONS)
    tensors = {
        name: torch.tensor(9_999_999_999.0).half() if name.endswith(".alpha") else value
        for name, value in file.tensors.items()
    }
    return replace(file, tensors=tensors)


def _peft_with_alphas(pipeline: Any) -> Written:
    """PEFT's names in a file that tells each layer's strength itself."""
    return dotted(pipeline, lora(4, None), prefix="base_model.model.")


def _lycoris_root(pipeline: Any) -> Written:
    """LyCORIS around the denoiser itself, as SimpleTuner has it."""
    file = dotted(pipeline, lokr(rank=2), prefix="", renamed=lambda role: f".{role}")
    tensors = {}
    for name, value in file.tensors.items():
        layer, _, role = name.rpartition(".")
        tensors[f"lycoris_{layer.replace('.', '_')}.{role}"] = value
    return replace(file, tensors=tensors)


def _encoder_prefixes(pipeline: Any, kohyas: bool) -> Mapping[str, str]:
    if not kohyas:
        parts = [name for name in ("text_encoder", "text_encoder_2") if hasattr(pipeline, name)]
        return {name: f"{name}." for name in parts}
    if _is_flux(pipeline):
        return {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te3_"}
    if hasattr(pipeline, "text_encoder_2"):
        return {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
    return {"text_encoder": "lora_te_"}


def _with_encoders(pipeline: Any, kohyas: bool) -> Written:
    make = lora(None, None)
    half = text_encoders(pipeline, _encoder_prefixes(pipeline, kohyas), kohyas, make)
    return joined(kohya(pipeline, make) if kohyas else dotted(pipeline, make), half)


def _comfy_encoders(pipeline: Any) -> Written:
    second = "t5xxl" if _is_flux(pipeline) else "clip_g"
    prefixes = {
        name: f"text_encoders.{theirs}.transformer."
        for name, theirs in (("text_encoder", "clip_l"), ("text_encoder_2", second))
        if hasattr(pipeline, name)
    }
    make = lora(4, 2.0)
    return joined(comfy(pipeline, make), text_encoders(pipeline, prefixes, False, make))


def _fused(pipeline: Any) -> Written:
    """LoKr whose blocks lie across the borders of FLUX' fused layers."""
    return kohya(pipeline, lokr(factor=2, rank=3))


ROWS = (
    Row("kohya", lambda p: kohya(p, lora(4, 2.0))),
    Row("kohya, no alpha", lambda p: kohya(p, lora(4, 0))),
    Row("alpha differing by layer", lambda p: kohya(p, lora(4, None))),
    Row("rank differing by layer", lambda p: kohya(p, lora(None, 2.0))),
    Row("alpha and rank differing by layer, diffusers' names", _patterns),
    Row("text encoders included, kohya", lambda p: _with_encoders(p, True)),
    Row("text encoders included, diffusers", lambda p: _with_encoders(p, False)),
    Row("PEFT names of diffusers, alpha in the metadata", _diffusers),
    Row("PEFT's names, alpha in the file", _peft_with_alphas),
    Row("diffusers, lora.down", lambda p: dotted(p, lora(4, 0), renamed=old_role)),
    Row(
        "diffusers' attention processors (2023)",
        lambda p: attention_processors(p, lora(4, 0)),
        U_NETS,
    ),
    Row("XLabs", lambda p: xlabs(p, lora(4, 0)), ("flux",)),
    Row("OneTrainer", _onetrainer),
    Row("OneTrainer's bundle, a word's vectors in it", lambda p: with_words(_onetrainer(p), p)),
    Row("ai-toolkit", _ai_toolkit),
    Row("ComfyUI (diffusion_model.), text encoders included", _comfy_encoders),
    Row("LyCORIS LoCon (convolutions)", lambda p: kohya(p, lora(4, 2.0), CONVOLUTIONS), U_NETS),
    Row(
        "LyCORIS LoCon in three factors",
        lambda p: kohya(p, lora(4, 2.0, middle=True), CONVOLUTIONS),
        U_NETS,
    ),
    Row("LyCORIS LoHa", lambda p: kohya(p, loha(), CONVOLUTIONS)),
    Row(
        "LyCORIS LoHa in three factors",
        lambda p: kohya(p, loha(kernels=True), CONVOLUTIONS),
        U_NETS,
    ),
    Row("LyCORIS LoKr, whole factors", lambda p: kohya(p, lokr(), CONVOLUTIONS)),
    Row("LyCORIS LoKr, whole factors, ai-toolkit's alpha in fp16", _huge_alpha),
    Row("LyCORIS LoKr, factored", lambda p: kohya(p, lokr(rank=3), CONVOLUTIONS)),
    Row(
        "LyCORIS LoKr in three factors",
        lambda p: kohya(p, lokr(rank=3, kernels=True), CONVOLUTIONS),
        U_NETS,
    ),
    Row("LyCORIS LoKr across fused layers", _fused, ("flux",)),
    Row("LyCORIS around the denoiser (lycoris_)", _lycoris_root),
    Row("LyCORIS full differences", lambda p: kohya(p, difference(), CONVOLUTIONS)),
    Row("DoRA, kohya's dora_scale", lambda p: kohya(p, dora(lora(4, 2.0)), CONVOLUTIONS)),
    Row(
        "DoRA by inputs (LyCORIS, OneTrainer)",
        lambda p: kohya(p, dora(lora(4, 2.0), False), CONVOLUTIONS),
    ),
    Row("DoRA, PEFT's magnitude vector", lambda p: dotted(p, _flat(dora(lora(4, 2.0))))),
    Row("DoRA of a LoHa", lambda p: kohya(p, dora(loha(), False))),
    Row("stored in fp16", lambda p: kohya(p, lora(4, 2.0, stored=torch.float16))),
    Row("stored in bf16", lambda p: kohya(p, lora(4, 2.0, stored=torch.bfloat16))),
    Row("stored in fp8", lambda p: kohya(p, lora(4, 2.0, stored=torch.float8_e4m3fn))),
)


def _flat(make: Any) -> Any:
    """PEFT's magnitudes are a vector."""

    def flat(base: torch.Tensor, random: torch.Generator, number: int) -> Any:
        factors = make(base, random, number)
        scale = factors.tensors["dora_scale"].reshape(-1)
        return factors._replace(tensors={**factors.tensors, "dora_scale": scale})

    return flat


@dataclass(frozen=True)
class Taken:
    """worst: the largest relative error of a layer. changed: how many layers are changed. stray:
    modules that are changed and should not be, or the other way round.
    """

    worst: float
    changed: int
    stray: list[Where]


def measure(session: PipelineSession, file: Written, given: bytes | Path | None = None) -> Taken:
    """Use the file and compare what each linear layer and convolution of all parts then computes,
    in float64, with its weights and what the file adds to them. given: the file in another form.
    """
    parts = (session.family.DENOISER, *session.family.TEXT_ENCODERS)
    worst, changed, stray = 0.0, 0, []
    with (
        applied(session, file.data() if given is None else given),
        unfolded(session.denoiser),
        torch.no_grad(),
    ):
        for part in parts:
            with _in_double(getattr(session.pipeline, part)) as model:
                for name, base, module in _layers(model):
                    inputs = _inputs(base)
                    extra = module(inputs) - base(inputs)
                    wanted = file.added.get((part, name))
                    if wanted is None:
                        if extra.abs().max() > 1e-9:
                            stray.append((part, name))
                        continue
                    changed += 1
                    there = _through(base, inputs, wanted)
                    worst = max(worst, float((extra - there).norm() / there.norm()))
            _check_words(session.pipeline, part, file)
    stray += [where for where in file.added if where[0] not in parts]
    if changed != len(file.added):
        stray.append(("of all", f"{changed} of {len(file.added)} layers"))
    return Taken(worst, changed, stray)


def _layers(model: Any) -> Iterator[tuple[str, Any, Any]]:
    """Names, base layers, and what stands in their places."""
    for name, module in model.named_modules():
        base = module.get_base_layer() if hasattr(module, "get_base_layer") else module
        inside = ".base_layer" in name or any(
            mark in name for mark in (".lora_A", ".lora_B", ".lora_magnitude", ".lora_dropout")
        )
        if isinstance(base, torch.nn.Linear | torch.nn.Conv2d) and not inside:
            yield name, base, module


def _inputs(base: Any) -> torch.Tensor:
    random = torch.Generator().manual_seed(5)
    if isinstance(base, torch.nn.Linear):
        shape: tuple[int, ...] = (6, base.in_features)
    else:
        shape = (2, base.in_channels, 6, 6)
    return torch.randn(*shape, generator=random, dtype=torch.float64)


def _through(base: Any, inputs: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    if isinstance(base, torch.nn.Linear):
        return functional.linear(inputs, added)
    return functional.conv2d(inputs, added, None, base.stride, base.padding, base.dilation)


@contextmanager
def _in_double(model: Any) -> Iterator[Any]:
    """Base weights and the LoRA's are the same numbers in float64."""
    model.double()
    try:
        yield model
    finally:
        model.float()


def _check_words(pipeline: Any, part: str, file: Written) -> None:
    for word, vector in file.words.get(part, {}).items():
        tokenizer = getattr(pipeline, part.replace("text_encoder", "tokenizer"))
        table = getattr(pipeline, part).get_input_embeddings().weight
        (token,) = tokenizer(word, add_special_tokens=False).input_ids
        assert torch.equal(table[token], vector), word


def peft_folder(session: PipelineSession, kind: str, folder: Path, **settings: Any) -> Written:
    """Save a folder with PEFT itself; what it adds, as PEFT's own layers compute it. kind: "Lora",
    "LoHa" or "LoKr".
    """
    import copy

    import peft

    part = session.family.DENOISER
    model = copy.deepcopy(getattr(session.pipeline, part))
    config = getattr(peft, f"{kind}Config")(target_modules=list(ATTENTION), **settings)
    torch.manual_seed(4)
    adapted = peft.get_peft_model(model, config)
    added = {}
    for name, parameter in adapted.named_parameters():
        if any(mark in name for mark in ("lora_", "hada_", "lokr_")):
            parameter.data = torch.randn(parameter.shape) * 0.3
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight"):
            added[part, name] = module.double().get_delta_weight("default").detach()
            module.float()
    adapted.save_pretrained(folder)
    return Written(added=added)
