"""A LoRA in use: put into a session's pipeline while a block runs, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.fallback import first_line, is_out_of_memory
from avatar_pipeline.diffusion.lora.bases import U_NET, Base, lora_base
from avatar_pipeline.diffusion.lora.header import FAMILYS, REMEDY, read_header
from avatar_pipeline.diffusion.lora.keys import DENOISER
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.diffusion.weights import FAMILY_NAMES

if TYPE_CHECKING:
    from avatar_pipeline.diffusion.lora.changes import Change
    from avatar_pipeline.diffusion.lora.layers import FileLayer, LoraFile

SHOWN = 3  # names of layers in a message


def check_lora(weights: bytes, preset: Preset) -> Base | None:
    """Raise ModelError when the bytes are a pickle, damaged, no LoRA, a kind that cannot be loaded,
    or the LoRA of another family than the preset's. Returns the base model that it is for, where
    that can be seen.
    """
    base = lora_base(read_header(weights))
    if base is not None and preset.family not in base.families:
        remedy = REMEDY if base.families else f"No preset draws with {base.name}. {FAMILYS}"
        raise ModelError(
            f"the LoRA is one for {base.name}, and preset {preset.name} is "
            f"{FAMILY_NAMES[preset.family]}. {remedy}"
        )
    return base


@contextmanager
def applied(session: PipelineSession, lora: bytes | Path) -> Iterator[None]:
    """Use a LoRA while the block runs: the bytes of a safetensors file of any trainer's names, such
    a file, or a folder that PEFT has saved. docs/lora-files.md lists the kinds.

    Raises ModelError for a pickle, a damaged file, a LoRA of another family, a kind that cannot be
    loaded, and one of which something does not fit the model. The pipeline is as before after the
    block and after any error. Meanwhile it is folded into the weights where they allow.
    """
    from avatar_pipeline.diffusion.folding import folded
    from avatar_pipeline.diffusion.lora.folders import read_lora

    weights = lora if isinstance(lora, bytes) else read_lora(lora)
    base = check_lora(weights, session.preset)
    with ExitStack() as stack:
        with session.loaded.unhooked():
            fault = _fault(session, weights, stack)
        if fault:
            # a LoRA of the family's other model, such as Stable Diffusion 2's, by its widths
            other = base not in (None, U_NET) and base.name != FAMILY_NAMES[session.preset.family]
            aside = f" (it seems to be for {base.name})" if base and other else ""
            raise ModelError(
                f"the LoRA does not fit the model {session.preset.name}{aside}: {fault}. {REMEDY}"
            )
        stack.enter_context(folded(session.denoiser))
        yield


def _fault(session: PipelineSession, weights: bytes, stack: ExitStack) -> str:
    """Put a LoRA into the pipeline, to be taken out by `stack`; return what does not fit, in words,
    with nothing left behind.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from avatar_pipeline.diffusion.lora.layers import read_layers

    with ExitStack() as undo, torch.no_grad():
        try:
            metadata = read_header(weights).get("__metadata__") or {}
            file = read_layers(load(weights), metadata)
            _insert_all(session, file, undo)
        except (SafetensorError, ValueError, RuntimeError, KeyError, TypeError) as error:
            if is_out_of_memory(error):
                raise
            return first_line(error).rstrip(".")
        if not any(value.any() for layer in file.layers for value in _last_factors(layer)):
            session.log("the LoRA changes nothing: the weights of all its layers are zero")
        stack.enter_context(undo.pop_all())
    return ""


def _insert_all(session: PipelineSession, file: LoraFile, undo: ExitStack) -> None:
    from avatar_pipeline.diffusion.lora.insert import insert
    from avatar_pipeline.diffusion.lora.settings import LayerFault
    from avatar_pipeline.diffusion.lora.words import add_words

    if file.unknown:
        raise LayerFault(
            f"{len(file.unknown)} of its tensors have names that no trainer known here gives: "
            f"{', '.join(file.unknown[:SHOWN])}"
        )
    for name, changes in _changes(session, file.layers).items():
        part = getattr(session.pipeline, name)
        undo.callback(insert(part, changes))
        if name in session.family.TEXT_ENCODERS:
            undo.callback(session.loaded.change_words())
    if file.words:
        undo.callback(add_words(session.pipeline, session.preset.family, file.words))
        undo.callback(session.loaded.change_words())


def _changes(session: PipelineSession, layers: list[FileLayer]) -> dict[str, list[Change]]:
    """What changes in which part of the pipeline. Raises LayerFault when a layer has no place."""
    from avatar_pipeline.diffusion.lora.changes import changes_of
    from avatar_pipeline.diffusion.lora.insert import clear
    from avatar_pipeline.diffusion.lora.modules import ModuleIndex
    from avatar_pipeline.diffusion.lora.settings import LayerFault

    plan = session.plan
    pipeline, indexes = session.pipeline, {}
    offloaded = bool(plan and plan.offload == "group" and session.device.kind != "cpu")
    found: dict[str, list[Change]] = {}
    homeless = []
    for layer in layers:
        name = _part(session, layer.part)
        if name not in indexes and hasattr(pipeline, name):
            clear(getattr(pipeline, name))
            indexes[name] = ModuleIndex(getattr(pipeline, name))
        index = indexes.get(name)
        changes = changes_of(layer, index, offloaded) if index else []
        if changes:
            found.setdefault(name, []).extend(changes)
        else:
            homeless.append(f"{name}: {layer.name}")
    if homeless and len(homeless) == len(layers):
        count = sum(len(layer.tensors) for layer in layers)
        raise LayerFault(
            f"none of its {count} tensors belongs to a layer of the {session.family.DENOISER} "
            f"({homeless[0]} is not there)"
        )
    if homeless:
        raise LayerFault(
            f"{len(homeless)} of its {len(layers)} layers have no place in the model "
            f"({', '.join(homeless[:SHOWN])})"
        )
    return found


def _part(session: PipelineSession, part: str) -> str:
    """The name in the pipeline of what files call this part."""
    if part == DENOISER:
        return session.family.DENOISER
    # sd-scripts and ComfyUI count T5 third, behind two CLIP encoders of which FLUX has one
    return "text_encoder_2" if (session.preset.family, part) == ("flux", "text_encoder_3") else part


def _last_factors(layer: FileLayer) -> list[Any]:
    """The tensors of which one at zero makes the layer change nothing."""
    roles = ("up", "hada_w2_b", "lokr_w2", "lokr_w2_b", "diff", "diff_b", "w_norm", "b_norm")
    return [
        value
        for role, value in layer.tensors.items()
        if role in (*roles, "magnitude_vector", "dora_scale")
    ]
