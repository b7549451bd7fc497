"""The LoRA as a safetensors file in diffusers' format. Made in memory: nothing is lost when a disk
is full.

Metadata has two places: what the loader reads (rank, alpha, targets) in one key of its own, where
it takes no other names; and free top-level keys, where the LoRA tells what it was made from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load, save

from avatar_pipeline.diffusion.lora import ADAPTER
from avatar_pipeline.diffusion.training.denoiser import Trainable

ADAPTER_METADATA = "lora_adapter_metadata"  # diffusers.loaders.lora_base.LORA_ADAPTER_METADATA_KEY


def lora_file(trained: Trainable, part: str) -> bytes:
    """Return the LoRA of `part` ("unet", "transformer") as a file.

    Its metadata holds rank and alpha: without them a LoRA whose alpha differs from its rank is
    loaded too strong or too weak.
    """
    config = trained.denoiser.peft_config[ADAPTER].to_dict()
    # Sets have another order in each process; a file's bytes must not depend on it.
    config = {
        f"{part}.{key}": sorted(value) if isinstance(value, set) else value
        for key, value in config.items()
    }
    tensors = {f"{part}.{name}": value for name, value in trained.state().items()}
    return to_bytes(
        tensors, {"format": "pt", ADAPTER_METADATA: json.dumps(config, indent=2, sort_keys=True)}
    )


def read(data: bytes) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and top-level metadata of a safetensors file."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return load(data), header.get("__metadata__", {})


def adapter_config(metadata: Mapping[str, str]) -> dict[str, Any]:
    """PEFT's configuration of the LoRA in a file with this metadata: r, lora_alpha, use_rslora,
    ...
    """
    packed: dict[str, Any] = json.loads(metadata[ADAPTER_METADATA])
    return {key.partition(".")[2]: value for key, value in packed.items()}


def annotate(data: bytes, notes: Mapping[str, str]) -> bytes:
    """Return the same file with further top-level metadata. The tensors are not touched."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = {**header.get("__metadata__", {}), **notes}
    return _with_header(header, data[8 + length :])


def to_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a safetensors file. The same contents give the same bytes."""
    return sorted_header(save(dict(tensors), dict(metadata)))


def sorted_header(data: bytes) -> bytes:
    """Return the same safetensors file with its header's keys in alphabetical order.

    The library keeps metadata in a hash map and writes them in another order each time: the same
    LoRA would have two digests.
    """
    length = int.from_bytes(data[:8], "little")
    return _with_header(json.loads(data[8 : 8 + length]), data[8 + length :])


def _with_header(header: Any, tensors: bytes) -> bytes:
    """A file is the header's length (8 bytes, little endian), the header (JSON, padded with spaces
    to a multiple of 8), the tensors; offsets count from the end of the header, so that it may
    change its length.
    """
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + tensors
