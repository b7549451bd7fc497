"""Where a model's weights lie, whether they are complete, and which ones they are."""

from __future__ import annotations

from pathlib import Path

from avatar_pipeline.errors import ModelError
from avatar_pipeline.provenance.digests import digest_files, sha256_file


def check_model_folder(folder: Path) -> None:
    """Raise ModelError when `folder` is not a complete diffusers pipeline folder."""
    if not folder.is_dir():
        raise ModelError(
            f"the model folder {folder} does not exist. Give the folder of a diffusers pipeline, "
            "or leave `model` empty to use the preset's own."
        )
    if not (folder / "model_index.json").is_file():
        raise ModelError(
            f"{folder} is not a diffusers pipeline: it has no model_index.json. Save one there with pipeline.save_pretrained()."
        )
    for part in ("transformer" if (folder / "transformer").is_dir() else "unet", "vae", "text_encoder"):
        if not list((folder / part).glob("*.safetensors")):
            raise ModelError(f"{folder} lacks the weights of its {part}: no .safetensors file in {folder / part}.")


def model_sha256(folder: Path) -> str:
    """sha256 over the names and contents of a model folder's files; within a process an unchanged file is read only once.

    Raises ModelError when the folder is not a complete pipeline.
    """
    check_model_folder(folder)
    return digest_files({p.relative_to(folder).as_posix(): sha256_file(p) for p in folder.rglob("*") if p.is_file()})
