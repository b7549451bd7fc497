"""Which weights a model has: the sha256 of the files that are loaded, kept so that it is not read
again each time.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from avatar_pipeline.core.digests import digest_files, sha256_file
from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.core.home import home_folder, write_json
from avatar_pipeline.diffusion.model_choice import training_preset
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.weights import (
    READ_BY_TOKENIZERS,
    check_model_folder,
    is_used,
    locate_model,
    read_index,
    weight_files,
)

REMEMBERED = 64 * 2**20  # files from this size on have their digests remembered between processes


def model_sha256(folder: Path, preset: Preset | None = None) -> str:
    """sha256 over the names and contents of the files that are loaded from a model folder.

    A large file is read once, and its digest remembered by path, size and time of change; a file of
    the hub's cache is named by its sha256. Raises ModelError when the folder is not a complete
    pipeline.
    """
    family = check_model_folder(folder, preset)
    index = read_index(folder)
    weights = weight_files(folder, family, preset)
    files = [folder / "model_index.json", *(file for part in weights.values() for file in part)]
    for part in index:
        if (folder / part).is_dir() and is_used(index, part):
            files += [
                f
                for f in (folder / part).rglob("*")
                if f.suffix in READ_BY_TOKENIZERS and f.is_file()
            ]
    adapters = (
        [folder / preset.identity_adapter]
        if preset and preset.identity_adapter
        else (folder / "ip_adapter").glob("*")
    )
    adapters = [file for file in adapters if file.suffix == ".safetensors" and file.is_file()]
    files += adapters
    for file in adapters:  # FLUX's adapter looks at faces through an encoder of its own
        files += (file.parent / "image_encoder").glob("*.safetensors")
    # An adapter may lie outside the model's folder, as in the hub's cache nothing can be added.
    return digest_files(
        {
            (
                f.relative_to(folder) if folder in f.parents else Path(f.name)
            ).as_posix(): file_sha256(f)
            for f in files
        }
    )


def weights_version(preset: Preset) -> str:
    """sha256 of the weights that a preset draws with; of both where its LoRAs are trained on a base
    that lies here. Raises ModelError when those that draw are missing.
    """
    drawing = model_sha256(locate_model(preset), preset)
    base = training_preset(preset)
    if base == preset:
        return drawing
    try:
        folder = locate_model(base)
    except ModelError:
        return drawing  # not fetched: nothing can have been trained on it here
    if not folder.is_dir():
        return drawing
    return digest_files({"drawing": drawing, "training": model_sha256(folder, base)})


def file_sha256(file: Path) -> str:
    """The sha256 of a file, without reading 24 GB again each time.

    The hub's cache names its files by their sha256 (snapshots/COMMIT/unet/x.safetensors links to
    blobs/<sha256>). Raises ModelError when
    one of them holds something else: it was altered since it was fetched.
    """
    target = file.resolve()
    digest = _remembered_sha256(target)
    named = (
        file.is_symlink()
        and target.parent.name == "blobs"
        and re.fullmatch(r"[0-9a-f]{64}", target.name)
    )
    if named and digest != target.name:
        raise ModelError(
            f"{file} is damaged: its sha256 is {digest}, and it was fetched as {target.name}. "
            "Fetch it again (it is replaced): "
            "avatar-pipeline fetch and the name of its preset."
        )
    return digest


def _remembered_sha256(target: Path) -> str:
    state = target.stat()
    if state.st_size < REMEMBERED:
        return sha256_file(target)
    store = home_folder() / "digests.json"
    entry = [state.st_size, state.st_mtime_ns]
    known = _read_json(store).get(str(target))
    if (
        isinstance(known, list)
        and len(known) == 3
        and known[:2] == entry
        and re.fullmatch(r"[0-9a-f]{64}", str(known[2]))
    ):
        return str(known[2])
    digest = sha256_file(target)
    write_json(store, {**_read_json(store), str(target): [*entry, digest]})
    return digest


def _read_json(path: Path) -> dict[str, Any]:
    """A file of the home folder; what is missing or damaged is only a cache, and empty."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
