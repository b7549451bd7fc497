"""The pictures of a version, as people want to see them: from the store, verified, by name."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from functools import partial
from pathlib import PurePosixPath

from PIL import Image

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.imaging.images import open_image
from avatar_pipeline.pipeline.registry import STAGES

TILE = (128, 128)


def loaders(store: ActorStore, manifest: Manifest) -> dict[str, Callable[[], Image.Image]]:
    """Return by name the images of a version that its stage names as previews, the most telling
    first; each is read when it is called.

    A call raises StoreError when a file is missing or was altered.
    """
    stage = STAGES.get(manifest.asset)
    found: dict[str, Callable[[], Image.Image]] = {}
    for name, wanted in (stage.previews if stage else {}).items():
        file = wanted.format(actor=manifest.actor)
        if "*" in file:
            if files := [one for one in manifest.files if _matches(one, file)]:
                found[name] = partial(sheet_of, store, manifest, files)
        elif file in manifest.files:
            found[name] = partial(read_picture, store, manifest, file)
    return found


def _matches(file: str, pattern: str) -> bool:
    """Return whether a file lies in the pattern's folder, and its name is like the pattern's."""
    path, wanted = PurePosixPath(file), PurePosixPath(pattern)
    return path.parent == wanted.parent and path.match(wanted.name)


def pictures(store: ActorStore, manifest: Manifest) -> dict[str, Image.Image]:
    """Return all of them. Raises StoreError when a file is missing or was altered."""
    return {name: load() for name, load in loaders(store, manifest).items()}


def read_picture(store: ActorStore, manifest: Manifest, file: str) -> Image.Image:
    """Return one picture of a version, RGB. Raises StoreError when it is missing or was altered,
    PhotoError when it is no picture.
    """
    return open_image(store.read(manifest, file), name=f"{manifest.asset}/{file}")


def sheet_of(
    store: ActorStore, manifest: Manifest, files: list[str], columns: int = 5
) -> Image.Image:
    """Return several pictures of a training set on one sheet, labelled with what they were made
    from.
    """
    table = (
        csv.DictReader(io.StringIO(store.read(manifest, "metadata.csv").decode()))
        if "metadata.csv" in manifest.files
        else ()
    )
    names = {row["file"]: row["name"].replace(" of ", "\nof ") for row in table}
    return contact_sheet(
        [(read_picture(store, manifest, file), names.get(file, file)) for file in files],
        columns,
        TILE,
    )
