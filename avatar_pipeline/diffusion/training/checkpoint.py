"""A training that can go on where it was killed: all of its state as one safetensors file, bound to
what it was asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

FORMAT = "avatar_pipeline.checkpoint.1"
# Raise it when the same state would go on to another result: older checkpoints are then not used.
CODE_VERSION = "3"
# what a kill costs at most, beside the step or the evaluation that it hits
CHECKPOINT_INTERVAL_S = 60.0


class Checkpoints(Protocol):
    """A place for the checkpoint of one training. What `save` stores appears whole or not at
    all.
    """

    def load(self) -> bytes | None:
        """Return what was saved last, None when nothing was."""

    def save(self, data: bytes) -> None:
        """Replace what was saved. Raises StoreError when it cannot be stored; then the last one is
        still there.
        """

    def clear(self) -> None:
        """Forget it: the training is done, or asks for something else."""


def pack(key: str, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> bytes:
    """Return a checkpoint's file. key: what it is bound to. state: what JSON can hold; numbers come
    back bit for bit.
    """
    from avatar_pipeline.diffusion.training.files import to_bytes

    contents = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    encoded = json.dumps(state)
    return to_bytes(
        contents,
        {"format": FORMAT, "key": key, "state": encoded, "sha256": _sha256(contents, encoded)},
    )


def unpack(key: str | None, data: bytes) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Tensors and state of a checkpoint; None when it is bound to another `key`, damaged, or no
    checkpoint. A `key` of None fits all.
    """
    from safetensors import SafetensorError

    from avatar_pipeline.diffusion.training.files import read

    try:
        tensors, metadata = read(data)
        if metadata.get("format") != FORMAT or key not in (None, metadata.get("key")):
            return None
        if metadata["sha256"] != _sha256(tensors, metadata["state"]):
            return None
        return tensors, json.loads(metadata["state"])
    except (SafetensorError, ValueError, KeyError):
        return None


def _sha256(tensors: Mapping[str, torch.Tensor], state: str) -> str:
    """Of everything in it: the format itself would not notice a bit that was lost on a disk."""
    import torch

    digest = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def below(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors whose names start with `prefix.`, without it."""
    return {
        name.removeprefix(f"{prefix}."): value
        for name, value in tensors.items()
        if name.startswith(f"{prefix}.")
    }
