"""The other processes of a training: `python -m avatar_pipeline.diffusion.training.worker FOLDER`,
started by rank 0.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

from avatar_pipeline.diffusion.session import open_session


def main(folder: Path) -> None:
    """Take this process's share of each batch, by what `distributed.group` has written into the
    folder.
    """
    threading.Thread(target=_end_with_rank_0, daemon=True).start()
    from safetensors.torch import load_file

    from avatar_pipeline.diffusion.presets import Preset
    from avatar_pipeline.diffusion.training.dataset import from_tensors
    from avatar_pipeline.diffusion.training.distributed import Group, joined
    from avatar_pipeline.diffusion.training.loop import take_part
    from avatar_pipeline.diffusion.training.settings import Hyperparameters

    job: dict[str, Any] = json.loads((folder / "job.json").read_text())
    session = open_session(_restore(Preset, job["preset"]), job["device"], job["model"])
    settings = _restore(Hyperparameters, job["settings"])
    dataset = from_tensors(load_file(folder / "dataset.safetensors"))
    prior_file, checkpoint_file = folder / "prior.safetensors", folder / "checkpoint.safetensors"
    prior = from_tensors(load_file(prior_file)) if prior_file.is_file() else None
    checkpoint = checkpoint_file.read_bytes() if checkpoint_file.is_file() else None
    with joined({}, job["device"]) as accelerator:
        take_part(session, dataset, prior, settings, job["seed"], checkpoint, Group(accelerator))


def _restore(kind: Any, values: dict[str, Any]) -> Any:
    """A dataclass from its JSON: lists become the tuples that they were."""
    names = {field.name for field in fields(kind)}
    return kind(**{name: _tuples(value) for name, value in values.items() if name in names})


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value


def _end_with_rank_0() -> None:
    sys.stdin.buffer.read()  # returns when rank 0 has gone
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
