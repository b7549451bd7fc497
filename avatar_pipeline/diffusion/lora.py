"""A LoRA's file: which model family it is of, and put into a denoiser, whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.core.scratch import scratch_folder
from avatar_pipeline.diffusion.fallback import first_line, is_out_of_memory
from avatar_pipeline.diffusion.families import FamilyName
from avatar_pipeline.diffusion.offload import restore_lora
from avatar_pipeline.diffusion.presets import Preset
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.diffusion.weights import FAMILY_NAMES

ADAPTER = "actor"  # its name in PEFT
REMEDY = "Train it again (materialize lora), or give the LoRA of this preset's family."

# How the families' layers are called: diffusers' names, kohya's, and those of the models' first
# publishers.
FLUX_KEYS = re.compile(
    r"^transformer\.|double_blocks|single_blocks|single_transformer_blocks|lora_transformer_"
)
SDXL_KEYS = re.compile(
    r"text_encoder_2\.|lora_te[12]_|add_embedding|label_emb|_blocks[._]\d+[._](attentions[._])?\d*[._]?transformer_blocks[._][2-9]"
)
UNET_KEYS = re.compile(r"^unet\.|lora_unet_|^lora_te_|^text_encoder\.")
# Width of the text that cross-attention reads: tells the two apart where names do not.
TEXT_WIDTHS: dict[int, FamilyName] = {768: "sd", 2048: "sdxl"}
DECLARED = {
    "flux": "flux",
    "sdxl": "sdxl",
    "stable-diffusion-xl": "sdxl",
    "sd_v1": "sd",
    "stable-diffusion-v1": "sd",
}


def check_lora(weights: bytes, preset: Preset) -> None:
    """Raise ModelError when the bytes are a pickle, damaged, no LoRA, or the LoRA of another family
    than the preset's.
    """
    family = lora_family(read_header(weights))
    if family is not None and family != preset.family:
        raise ModelError(
            f"the LoRA is one for {FAMILY_NAMES[family]}, and preset {preset.name} is "
            f"{FAMILY_NAMES[preset.family]}. {REMEDY}"
        )


def read_header(weights: bytes) -> dict[str, Any]:
    """The header of a safetensors file. Raises ModelError when there is none, or the file is cut
    off.
    """
    if (
        weights[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
        or weights[:4] == b"PK\x03\x04"
    ):
        raise ModelError(
            "the LoRA is a pickle, which can run any code when it is opened. Convert it to "
            "safetensors where you trust it. " + REMEDY
        )
    try:
        length = int.from_bytes(weights[:8], "little")
        header = json.loads(weights[8 : 8 + length]) if 8 < length <= len(weights) - 8 else None
        if not isinstance(header, dict):
            raise ValueError("it has no safetensors header")
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        if 8 + length + max((entry["data_offsets"][1] for entry in tensors), default=0) != len(
            weights
        ):
            raise ValueError("it is cut off, or longer than its header says")
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ModelError(f"the LoRA is damaged: {error}. {REMEDY}") from None
    if not any("lora" in name for name in header):
        raise ModelError(
            f"the file is no LoRA: none of its {len(tensors)} tensors belongs to one. {REMEDY}"
        )
    return header


def lora_family(header: dict[str, Any]) -> FamilyName | None:
    """The family that a LoRA's metadata or names tell; None when they do not: loading it will
    show.
    """
    metadata = header.get("__metadata__") or {}
    for field in ("modelspec.architecture", "ss_base_model_version"):
        for word, declared in DECLARED.items():
            if str(metadata.get(field, "")).lower().startswith(word):
                return declared  # type: ignore[return-value]
    names = [name for name in header if name != "__metadata__"]
    if any(FLUX_KEYS.search(name) for name in names):
        return "flux"
    if any(SDXL_KEYS.search(name) for name in names):
        return "sdxl"
    for name in names:
        if re.search(r"attn2[._]to_[kv].*(lora_A|lora[._]down)", name) and UNET_KEYS.search(name):
            return TEXT_WIDTHS.get(header[name]["shape"][-1])
    return None


@contextmanager
def applied(session: PipelineSession, weights: bytes) -> Iterator[None]:
    """Use a LoRA, given as the bytes of its safetensors file (diffusers' names or kohya's), while
    the block runs.

    Raises ModelError for a pickle, a damaged file, a LoRA of another family, and one of which
    something does not fit the model. The denoiser is as before after the block and after any error.
    """
    check_lora(weights, session.preset)
    from safetensors import SafetensorError

    pipeline = session.pipeline
    try:
        with session.loaded.unhooked(), scratch_folder() as folder:
            path = folder / "lora.safetensors"
            path.write_bytes(weights)
            try:
                pipeline.load_lora_weights(path, adapter_name=ADAPTER)
                fault = _unloaded(session, path)
            except (
                SafetensorError,
                OSError,
                ValueError,
                RuntimeError,
                KeyError,
                TypeError,
                AttributeError,
                IndexError,
            ) as error:
                if is_out_of_memory(error):
                    raise
                fault = first_line(error)
        if fault:
            raise ModelError(
                f"the LoRA does not fit the model {session.preset.name}: {fault}. {REMEDY}"
            )
        yield
    finally:
        pipeline.unload_lora_weights()


def _unloaded(session: PipelineSession, path: Path) -> str:
    """What of a LoRA's file has not found its place in the denoiser, in words. diffusers passes
    over such keys without an error.
    """
    state: Any = session.pipeline.lora_state_dict(path)
    state = state[0] if isinstance(state, tuple) else state
    prefix = f"{session.family.DENOISER}."
    wanted = [key for key in state if key.startswith(prefix) and "lora" in key]
    layers = {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }
    placed = sum(
        f".{ADAPTER}." in name and "lora_" in name
        for name, _ in session.denoiser.named_parameters()
    )
    from avatar_pipeline.diffusion.fp8 import is_fp8

    if is_fp8(session.denoiser):
        restore_lora(session.denoiser, layers, ADAPTER)
    if not wanted or not placed:
        return (
            f"none of its {len(state)} tensors belongs to a layer of the {session.family.DENOISER}"
        )
    return (
        f"only {placed} of its {len(wanted)} tensors belong to layers of the "
        f"{session.family.DENOISER}"
        if placed < len(wanted)
        else ""
    )
