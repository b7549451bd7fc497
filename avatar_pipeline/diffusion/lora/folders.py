"""A LoRA on the disk: a safetensors file, or a folder that PEFT or diffusers has saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.lora.header import read_header
from avatar_pipeline.diffusion.lora.keys import DENOISER, PEFT, split_key
from avatar_pipeline.diffusion.lora.settings import ADAPTER_METADATA

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
DIFFUSERS = "pytorch_lora_weights.safetensors"
PARTS = ("unet", "transformer", "text_encoder", "text_encoder_2")
KINDS = ("LORA", "LOHA", "LOKR")
SETTINGS = ("r", "lora_alpha", "alpha", "alpha_pattern", "rank_pattern", "use_rslora")


def read_lora(path: Path) -> bytes:
    """The LoRA at `path` as the bytes of one file; of a PEFT folder with its settings in the
    metadata. Raises ModelError when there is none, or none that can be loaded.
    """
    try:
        if not path.is_dir():
            return path.read_bytes()
        for name in (DIFFUSERS, *([] if (path / CONFIG).is_file() else [WEIGHTS])):
            if (path / name).is_file():
                return (path / name).read_bytes()
        folders = {"": path} if (path / CONFIG).is_file() else {}
        folders |= {part: path / part for part in PARTS if (path / part / CONFIG).is_file()}
        if not folders:
            raise ModelError(
                f"{path} holds no LoRA: neither {CONFIG} with {WEIGHTS} nor {DIFFUSERS}. Give the "
                "folder that PEFT or diffusers has saved, or a safetensors file."
            )
        return _joined(folders)
    except OSError as error:
        raise ModelError(f"the LoRA {path} cannot be read: {error}.") from error


def _joined(folders: dict[str, Path]) -> bytes:
    """PEFT's folders, by the part of the pipeline that each is for, as one file."""
    from safetensors.torch import load, save

    tensors: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for part, folder in folders.items():
        config = _config(folder)
        if not (folder / WEIGHTS).is_file():
            raise ModelError(
                f"{folder} lacks {WEIGHTS}. Save the adapter with safe_serialization, as PEFT does "
                "by itself: a pickle can run any code when it is opened."
            )
        weights = (folder / WEIGHTS).read_bytes()
        read_header(weights)
        for name, value in load(weights).items():
            bare = name.removeprefix(PEFT)
            key = split_key(bare)
            own = part or ("unet" if key is None or key.part == DENOISER else key.part)
            tensors[bare if not part else f"{part}.{bare}"] = value
            settings |= {f"{own}.{what}": config[what] for what in SETTINGS if what in config}
    return save(tensors, {ADAPTER_METADATA: json.dumps(settings)})


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(
            f"{folder / CONFIG} is damaged: {error}. Save the adapter again."
        ) from None
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind not in KINDS:
        raise ModelError(
            f"{folder} holds PEFT's {kind} adapter, and {', '.join(KINDS)} can be loaded here. "
            "Merge it into the base model (merge_and_unload), and give that model's folder as "
            "`model`."
        )
    return dict(config)
