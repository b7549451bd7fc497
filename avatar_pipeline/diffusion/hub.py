"""Fetch a preset's weights from the Hugging Face hub, into its cache. The only place that
downloads; runs never do.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatar_pipeline.core.digests import sha256_file
from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.model_choice import hub_id
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.weights import (
    CLASSES,
    FAMILY_NAMES,
    PARTS,
    PICKLES,
    SMALL_PARTS,
    check_model_folder,
    choose_weights,
)

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

SPARE = 2**30  # bytes that must stay free on the disk


def fetch(preset: Preset, log: Callable[[str], None]) -> Path:
    """Download what the preset's pipeline needs, at its revision; what is there already is not
    downloaded again. Returns its folder.

    Taken are the configuration and tokenizer files and one set of safetensors a part: the
    half-precision copy where the repository has one, which is half the download and loses nothing
    that bfloat16 would keep; else the original. Never pickles. Every large file is checked against
    the sha256 that the hub states. Progress bars go to stderr. Raises ModelError when the hub
    cannot be reached, refuses, has no such repository or revision, or the disk is too small.
    """
    if hub_id(preset.model) is None:
        raise ModelError(
            f"preset {preset.name} uses the folder {preset.model}: there is nothing to fetch."
        )
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.hf_api import RepoFile

    model, revision = preset.model, preset.revision
    with _explained(preset):
        entries = HfApi().list_repo_tree(model, revision=revision, recursive=True)
        listed = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
        if "model_index.json" not in listed:
            raise ModelError(
                f"{model} is not a diffusers pipeline: it has no model_index.json. "
                "Choose another model."
            )
        index = json.loads(
            Path(hf_hub_download(model, "model_index.json", revision=revision)).read_text(
                encoding="utf-8"
            )
        )
        files = _choose(preset, index, list(listed))
        for file in files:
            _drop_damaged(try_to_load_from_cache(model, file, revision=revision), listed[file])
        missing = [
            file
            for file in files
            if not isinstance(try_to_load_from_cache(model, file, revision=revision), str)
        ]
        size = sum(listed[file].size for file in missing)
        _check_disk(Path(HF_HUB_CACHE), size, preset)
        log(f"{model}: {len(missing)} of {len(files)} files to fetch, {size / 2**30:.2f} GiB")
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=files))
    for file in missing:
        if _drop_damaged(str(folder / file), listed[file]):
            raise ModelError(
                f"{file} of {model} came damaged and was deleted. Fetch again: "
                f"avatar-pipeline fetch {preset.name}"
            )
    check_model_folder(folder, preset)
    return folder


def _drop_damaged(cached: object, listed: RepoFile) -> bool:
    """Delete a file of the cache that is not what the hub lists, so that it is fetched again; True
    when it was deleted.
    """
    if not isinstance(cached, str):
        return False
    path = Path(cached)
    stated = listed.lfs
    if path.stat().st_size == listed.size and (
        stated is None or sha256_file(path) == stated.sha256
    ):
        return False
    path.resolve().unlink()
    path.unlink(missing_ok=True)
    return True


def _choose(preset: Preset, index: Mapping[str, Any], listed: list[str]) -> list[str]:
    """The files that the pipeline needs. Raises ModelError when the repository has another family,
    or pickles only.
    """
    family = CLASSES.get(str(index.get("_class_name")))
    if family != preset.family:
        found = FAMILY_NAMES.get(str(family), index.get("_class_name"))
        raise ModelError(
            f"{preset.model} is a {found} model, and preset {preset.name} wants "
            f"{FAMILY_NAMES[preset.family]}."
        )
    chosen = ["model_index.json"]
    for part in (*PARTS[family], *SMALL_PARTS[family]):
        names = [
            file.removeprefix(f"{part}/")
            for file in listed
            if file.startswith(f"{part}/") and file.count("/") == 1
        ]
        chosen += [
            f"{part}/{name}"
            for name in names
            if name.endswith((".json", ".txt", ".model")) and ".index." not in name
        ]
        if part not in PARTS[family]:
            continue
        name = choose_weights(names, ".fp16") or choose_weights(names, "")
        if name is None:
            pickles = [name for name in names if name.endswith(PICKLES)]
            what = (
                f"only as a pickle ({pickles[0]}), which can run any code when it is opened"
                if pickles
                else "not at all"
            )
            raise ModelError(
                f"{preset.model} has the weights of its {part} {what}. Choose "
                "another model or revision."
            )
        chosen.append(f"{part}/{name}")
        # shards have the index' name: diffusion_pytorch_model-00001-of-00003.safetensors
        if name.endswith(".json"):
            stem = name.partition(".")[0]
            wanted = ".fp16" if "fp16" in name else ""
            chosen += [
                f"{part}/{shard}"
                for shard in names
                if shard.startswith(f"{stem}")
                and "-of-" in shard
                and shard.endswith(".safetensors")
                and (".fp16" in shard) == bool(wanted)
            ]
    return chosen


def _check_disk(cache: Path, size: int, preset: Preset) -> None:
    existing = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if size + SPARE > free:
        raise ModelError(
            f"preset {preset.name} needs {(size + SPARE) / 2**30:.1f} GiB, and {free / 2**30:.1f} "
            f"GiB are free in {existing}. "
            "Free some, or set HF_HOME to a folder on a larger disk."
        )


@contextmanager
def _explained(preset: Preset) -> Iterator[None]:
    """What the hub's client raises, as one ModelError that says what to do."""
    from httpx2 import HTTPError
    from huggingface_hub import errors

    again = f"avatar-pipeline fetch {preset.name}"
    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise ModelError(
            f"the hub is switched off by HF_HUB_OFFLINE. Unset it, and then: {again}"
        ) from None
    except errors.GatedRepoError:
        raise ModelError(
            f"the hub gives {preset.model} only to accounts that have accepted its terms. Accept "
            "them on the model's page, put a read "
            f"token in HF_TOKEN (or run hf auth login), and then: {again}"
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelError(
            f"{preset.model} has no revision {preset.revision}. Give a commit that exists, or "
            "leave `revision` out."
        ) from None
    except errors.RepositoryNotFoundError:
        raise ModelError(
            f"the hub has no model {preset.model}, or it is private. Correct the id, or put a "
            "token that may read it in HF_TOKEN."
        ) from None
    except errors.LocalEntryNotFoundError as error:
        raise ModelError(
            f"{preset.model} could not be fetched: {_first_line(error)}. What came is kept; go on "
            f"with: {again}"
        ) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        remedy = (
            "Put a valid token in HF_TOKEN"
            if status in (401, 403)
            else "Wait some minutes"
            if status in (429, 500, 502, 503)
            else "Look"
        )
        raise ModelError(
            f"the hub answered {status} for {preset.model}: {_first_line(error)}. {remedy}, and "
            f"then: {again}"
        ) from None
    except HTTPError as error:
        raise ModelError(
            f"the connection to the hub failed: {_first_line(error) or type(error).__name__}. "
            f"What came is kept; go on with: {again}"
        ) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ModelError(
                f"the disk is full. What came is kept: free some space, and then: {again}"
            ) from None
        raise ModelError(
            f"{preset.model} could not be fetched: {_first_line(error)}. What came is kept; go on "
            f"with: {again}"
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
