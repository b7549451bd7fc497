"""Folders in the form of a pipeline with next to nothing in them: for what looks at weights without
loading them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def write_weights(file: Path, value: float = 1.0) -> None:
    """A safetensors file of one tensor."""
    save_file({"weight": np.full(4, value, np.float32)}, file)


def hollow_model(folder: Path, value: float = 1.0) -> Path:
    """A folder that looks like a Stable Diffusion pipeline."""
    index = {"_class_name": "StableDiffusionPipeline"}
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        (folder / part).mkdir(parents=True)
        index[part] = ["diffusers", "Part"]  # type: ignore[assignment]
        if part not in ("tokenizer", "scheduler"):
            write_weights(folder / part / "model.safetensors", value)
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
