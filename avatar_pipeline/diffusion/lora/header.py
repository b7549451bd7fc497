"""The header of a safetensors file that should be a LoRA, read without its tensors."""

from __future__ import annotations

import json
import re
from typing import Any

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.lora.keys import BUNDLED_WORD, unsupported_kind

ADAPTER = "actor"  # its name in PEFT
FAMILYS = "Give a LoRA of this preset's family."
REMEDY = "Give the LoRA of this preset's family, or choose the preset that the LoRA is for."
SAVE_AGAIN = "Copy or download the file once more, or let its trainer save it again."
PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")

# Names of tensors by which a LoRA of any trainer is known, and files that are taken for one.
ADAPTERS = re.compile(r"lora|hada_w|lokr_w|\.diff(_b)?$|\.[wb]_norm$")
OTHER_FILES = {
    "a textual-inversion embedding": re.compile(r"^(emb_params|clip_[lg]|string_to_param)"),
    "a whole checkpoint": re.compile(r"^(model\.diffusion_model|first_stage_model)\."),
    "a face-identity or image adapter": re.compile(r"^(image_proj|ip_adapter)\."),
    "a ControlNet": re.compile(r"(^|\.)(control_model|controlnet_cond_embedding|zero_convs)\."),
}


def read_header(weights: bytes) -> dict[str, Any]:
    """The header of a LoRA's safetensors file. Raises ModelError for a pickle, a damaged file, one
    that is no LoRA, and a kind of adapter that cannot be loaded.
    """
    if weights.startswith(PICKLES):
        raise ModelError(
            "the LoRA is a pickle, which can run any code when it is opened. Convert it to "
            "safetensors where you trust it, and give that file."
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
        if any(not isinstance(entry["shape"], list) for entry in tensors):
            raise ValueError("a tensor of it has no shape")
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ModelError(f"the LoRA is damaged: {error}. {SAVE_AGAIN}") from None
    names = tensor_names(header)
    for name in names:
        kind = unsupported_kind(name)
        if kind:
            raise ModelError(
                f"the file is {kind[0]}, which cannot be loaded here (tensor {name}). {kind[1]}"
            )
    if not any(ADAPTERS.search(name) for name in names if not BUNDLED_WORD.match(name)):
        found = [
            what
            for what, pattern in OTHER_FILES.items()
            if any(pattern.search(name) for name in names)
        ]
        raise ModelError(
            f"the file is no LoRA: none of its {len(tensors)} tensors belongs to one"
            f"{f'; it seems to be {found[0]}' if found else ''}. Give a LoRA as a safetensors file."
        )
    return header


def tensor_names(header: dict[str, Any]) -> list[str]:
    """The names of a file's tensors."""
    return [name for name in header if name != "__metadata__"]
