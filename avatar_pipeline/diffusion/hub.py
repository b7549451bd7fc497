"""Fetch a preset's weights from the Hugging Face hub, into its cache. The only place that
downloads; runs never do.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatar_pipeline.core.digests import sha256_file
from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.hub_errors import explained
from avatar_pipeline.diffusion.model_choice import hub_id, training_preset
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.presets import is_pinned
from avatar_pipeline.diffusion.revisions import record_revision, recorded_revision
from avatar_pipeline.diffusion.weights import (
    PARTS,
    PICKLES,
    READ_BY_TOKENIZERS,
    SMALL_PARTS,
    check_index,
    check_model_folder,
    choose_weights,
)

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

Log = Callable[[str], None]
SPARE = 2**30  # bytes that must stay free on the disk
BRANCH = "main"


@dataclass(frozen=True)
class Download:
    """What a model's pipeline needs of its repository. listed: files by path, as the hub lists
    them; files: those to have; missing: those of them to fetch.
    """

    preset: Preset
    listed: Mapping[str, RepoFile]
    files: list[str]
    missing: list[str]

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return sum(self.listed[file].size for file in self.missing)


def fetch(preset: Preset, log: Log, *, training_base: bool = True) -> list[Path]:
    """Download what the preset's pipeline needs, at its revision, and the base that its LoRAs are
    trained on, unless `training_base` is off; what is there already is not downloaded again.
    Returns their folders.

    Taken are the configuration and tokenizer files and one set of safetensors a part: the
    half-precision copy where the repository has one, which is half the download and loses nothing
    that bfloat16 would keep; else the original. Never pickles. Every large file is checked against
    the sha256 that the hub states. Sizes are logged before anything large comes; progress bars go
    to stderr. Raises ModelError when the hub cannot be reached, refuses, has no such repository or
    revision, or the disk is too small.
    """
    models = _on_the_hub(preset, training_base=training_base)
    if not models:
        raise ModelError(
            f"preset {preset.name} uses the folder {preset.model}: there is nothing to fetch."
        )
    downloads = []
    for model in models:
        download = _look_up(model)
        downloads.append(download)
        count = f"{len(download.missing)} of {len(download.files)} files to fetch"
        log(f"{model.model}: {count}, {download.size / 2**30:.2f} GiB")
        _say_when_moved(model, log)
    if len(downloads) > 1:
        _say_sum(downloads, log)
    elif preset.base and not training_base and preset.draw_with != "base":
        log(f"left out: {preset.base.model}, which LoRAs of the preset are trained on")
    _check_disk(sum(download.size for download in downloads), preset)
    folders = []
    for number, download in enumerate(downloads, 1):
        if len(downloads) > 1 and download.missing:
            log(f"fetching {number} of {len(downloads)}: {download.preset.model}")
        folders.append(_download(download))
    return folders


def update_revisions(preset: Preset, log: Log) -> None:
    """Record the commits at which the branch main of the preset's models is now: they are used from
    now on. Raises ModelError as fetch does.
    """
    for model in _on_the_hub(preset, training_base=True):
        if not _may_move(model):
            log(f"{model.model}: revision {model.revision} is given with the model, and stays")
            continue
        commit = _commit_of_main(model)
        record_revision(model.model, commit)
        before = "as before" if commit == model.revision else f"and was {model.revision}"
        log(f"{model.model}: revision {commit} is on record, {before}")


def record_unpinned(preset: Preset, model: str, log: Log) -> None:
    """Record the commit of the branch main of a hub id that came without one, for a preset's use.
    Raises ModelError as fetch does.
    """
    commit = _commit_of_main(replace(preset, model=model, revision=BRANCH))
    record_revision(model, commit)
    log(f"{model}: its branch {BRANCH} is at {commit}, which is on record and used from now on")


def _on_the_hub(preset: Preset, *, training_base: bool) -> list[Preset]:
    """Return the preset for each of its models that is one of the hub's."""
    trained = training_preset(preset)
    models = [preset, trained] if training_base and trained != preset else [preset]
    return [model for model in models if hub_id(model.model)]


def _commit_of_main(preset: Preset) -> str:
    from huggingface_hub import HfApi

    with explained(replace(preset, revision=BRANCH)):
        return str(HfApi().model_info(preset.model, revision=BRANCH).sha)


def _say_when_moved(preset: Preset, log: Log) -> None:
    """Log that the branch main has moved on from the commit in use, where it was not the user who
    gave that commit.
    """
    if not _may_move(preset):
        return
    commit = _commit_of_main(preset)
    if commit != preset.revision:
        why = "the preset's" if is_pinned(preset) else "on record"
        log(
            f"{preset.model}: its branch {BRANCH} has moved on to {commit}. {preset.revision} is "
            f"{why}, and stays in use. To take the new one: avatar-pipeline fetch {preset.name} "
            "--update-revision"
        )


def _may_move(preset: Preset) -> bool:
    """Return whether the commit is the table's or one on record, and not given by the user."""
    return is_pinned(preset) or preset.revision == recorded_revision(preset.model)


def _say_sum(downloads: Sequence[Download], log: Log) -> None:
    """Log what all models take together, and how much of it comes twice."""
    seen: set[str] = set()
    twice: dict[str, int] = {}
    for download in downloads:
        large = {file: download.listed[file].lfs for file in download.missing}
        for file, stated in large.items():
            if stated and stated.sha256 in seen:
                part = file.partition("/")[0]
                twice[part] = twice.get(part, 0) + stated.size
        seen |= {stated.sha256 for stated in large.values() if stated}
    total = sum(download.size for download in downloads)
    log(f"together {total / 2**30:.2f} GiB: the first draws, LoRAs are trained on the second")
    if twice:
        log(
            f"{', '.join(twice)} are the same in both, and come twice "
            f"({sum(twice.values()) / 2**30:.2f} GiB): the cache keeps each repository by itself"
        )


def _look_up(preset: Preset) -> Download:
    """Ask the hub what the preset's model needs, and compare it with what is there."""
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.hf_api import RepoFile

    model, revision = preset.model, preset.revision
    with explained(preset):
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
    return Download(preset, listed, files, missing)


def _download(download: Download) -> Path:
    """Fetch what is missing, check it, and return the model's folder."""
    from huggingface_hub import snapshot_download

    preset = download.preset
    with explained(preset):
        folder = Path(
            snapshot_download(preset.model, revision=preset.revision, allow_patterns=download.files)
        )
    for file in download.missing:
        if _drop_damaged(str(folder / file), download.listed[file]):
            raise ModelError(
                f"{file} of {preset.model} came damaged and was deleted. Fetch again: "
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


def _choose(preset: Preset, index: dict[str, Any], listed: list[str]) -> list[str]:
    """The files that the pipeline needs. Raises ModelError when the repository has another family,
    or pickles only.
    """
    family = check_index(index, preset.model, "model", preset)
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
            if name.endswith(READ_BY_TOKENIZERS) and ".index." not in name
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


def _check_disk(size: int, preset: Preset) -> None:
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(HF_HUB_CACHE)
    existing = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if size + SPARE > free:
        raise ModelError(
            f"preset {preset.name} needs {(size + SPARE) / 2**30:.1f} GiB, and {free / 2**30:.1f} "
            f"GiB are free in {existing}. "
            "Free some, or set HF_HOME to a folder on a larger disk."
        )
