"""Two versions of an asset, compared: what went in, what came out, file by file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from PIL import Image

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import short
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.history.file_diff import changed_lines
from avatar_pipeline.history.images import loaders
from avatar_pipeline.history.versions import differing, find_version, require_asset
from avatar_pipeline.imaging.compose import contact_sheet

IMAGE_SIDE = 560  # pixels, width and largest height of a picture of a pair
NUMBERED = re.compile(r"(held_out/|heads/)?\d{4}\.(png|txt)")


@dataclass(frozen=True)
class Value:
    """A named value then and now; None where there is none. change: now - then where both are
    numbers.
    """

    name: str
    old: Any
    new: Any

    @property
    def change(self) -> float | None:
        """The difference of two numbers."""
        if any(
            isinstance(value, bool) or not isinstance(value, int | float)
            for value in (self.old, self.new)
        ):
            return None
        return float(self.new - self.old)


@dataclass(frozen=True)
class FileChange:
    """A file that came, went, or is another. lines: what is different in it, as far as is
    known.
    """

    name: str
    state: str
    lines: list[str]


@dataclass(frozen=True)
class Difference:
    """Two versions. values: what differs, by kind: inputs, settings, seeds, metrics, libraries,
    facts. same: equal files.
    """

    old: Manifest
    new: Manifest
    values: dict[str, list[Value]]
    files: list[FileChange]
    same: int


def pick(
    store: ActorStore, name: str, asset: str, old: str = "", new: str = ""
) -> tuple[Manifest, Manifest]:
    """Return the two versions to compare. new: the current one by default. old: by default the
    newest that was made before `new`.

    Raises StoreError for an unknown or ambiguous digest, or when there is nothing to compare with.
    """
    spec = store.spec(name)
    require_asset(asset)
    now = find_version(store, spec.name, asset, new) if new else store.current(spec.name, asset)
    if old:
        return find_version(store, spec.name, asset, old), now
    manifests, _ = store.readable_versions(spec.name, asset)
    others = [manifest for manifest in manifests if manifest.digest != now.digest]
    before = [manifest for manifest in others if manifest.created < now.created] or others
    if not before:
        raise StoreError(
            f"{name} has one version of {asset} only, {short(now.digest)}: there is "
            "nothing to compare it with."
        )
    return before[0], now


def compare(store: ActorStore, old: Manifest, new: Manifest) -> Difference:
    """Return what differs between two versions of one asset. Raises StoreError when a file that is
    read is missing or was altered.
    """
    facts = (
        "code_version",
        "root_seed",
        "preset",
        "model",
        "model_id",
        "model_revision",
        "model_sha256",
        "lora_sha256",
        "device",
    )
    values = {
        "inputs": differing(old.inputs, new.inputs),
        "settings": differing(old.settings, new.settings),
        "facts": [
            (name, getattr(old, name), getattr(new, name))
            for name in facts
            if getattr(old, name) != getattr(new, name)
        ],
        "preset's values": differing(old.preset_values, new.preset_values),
        "seeds": differing(old.seeds, new.seeds),
        "libraries": differing(old.libraries, new.libraries),
        "metrics": differing(old.metrics, new.metrics),
        "costs": [
            (name, getattr(old, name), getattr(new, name)) for name in ("seconds", "peak_memory_mb")
        ],
    }
    files, same = [], 0
    renumbered = 0
    for name in sorted(old.files.keys() | new.files.keys()):
        # their numbers say nothing: metadata.csv tells which pictures came and went
        if NUMBERED.fullmatch(name):
            renumbered += (
                name not in old.files
                or name not in new.files
                or old.files[name].sha256 != new.files[name].sha256
            )
            same += (
                name in old.files
                and name in new.files
                and old.files[name].sha256 == new.files[name].sha256
            )
        elif name not in old.files:
            files.append(FileChange(name, "new", []))
        elif name not in new.files:
            files.append(FileChange(name, "gone", []))
        elif old.files[name].sha256 != new.files[name].sha256:
            files.append(FileChange(name, "changed", changed_lines(store, old, new, name)))
        else:
            same += 1
    if renumbered:
        before, after = (
            {entry.sha256 for file, entry in made.files.items() if _is_picture(file)}
            for made in (old, new)
        )
        files.append(
            FileChange(
                "numbered pictures and captions",
                "changed",
                [
                    f"{len(after - before)} pictures are new, {len(before - after)} gone, "
                    f"{len(before & after)} in both"
                ],
            )
        )
    return Difference(
        old,
        new,
        {kind: [Value(*each) for each in found] for kind, found in values.items() if found},
        files,
        same,
    )


def side_by_side(store: ActorStore, old: Manifest, new: Manifest) -> Image.Image | None:
    """Return their pictures, the old one left, the new one right, a row for each; None when neither
    has pictures.

    Raises StoreError when a picture is missing or was altered.
    """
    before, after = loaders(store, old), loaders(store, new)
    rows = []
    for name in dict.fromkeys([*before, *after]):
        tiles = []
        for when, found, manifest in (("old", before, old), ("new", after, new)):
            picture = (
                found[name]() if name in found else Image.new("RGB", (64, 16), (225, 225, 225))
            )
            label = (
                f"{when} {short(manifest.digest)}: {name}"
                if name in found
                else f"{when}: no {name}"
            )
            tiles.append((picture, label))
        height = max(
            min(IMAGE_SIDE, round(picture.height * IMAGE_SIDE / picture.width))
            for picture, _ in tiles
        )
        rows.append(contact_sheet(tiles, 2, (IMAGE_SIDE, height)))
    if not rows:
        return None
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)))
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def _is_picture(file: str) -> bool:
    return NUMBERED.fullmatch(file) is not None and file.endswith(".png")
