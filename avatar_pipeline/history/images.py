"""The pictures of a version, as people want to see them: from the store, verified, by name."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

from PIL import Image

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.imaging.images import open_image
from avatar_pipeline.pipeline.training_set import HELD_OUT

TILE = (128, 128)
# What each asset's first picture is called in the store, and so on; `{actor}` stands for the
# actor's name.
PICTURES = {
    "photo_intake": {"contact_sheet": "contact_sheet.jpg"},
    "base_image": {"base_image": "{actor}_base.png"},
    "face_validation": {"annotated": "annotated.jpg"},
    "lora": {"curves": "curves.png", "comparison": "comparison.jpg", "probes": "probes.jpg"},
    "validated_avatar": {"avatar": "{actor}_avatar.png", "contact_sheet": "contact_sheet.jpg"},
    "liveportrait_export": {"portrait": "{actor}.jpg"},
}


def loaders(store: ActorStore, manifest: Manifest) -> dict[str, Callable[[], Image.Image]]:
    """Return by name the pictures of a version, the most telling first; each is read when it is
    called.

    A call raises StoreError when a file is missing or was altered.
    """
    found: dict[str, Callable[[], Image.Image]] = {}
    for name, file in PICTURES.get(manifest.asset, {}).items():
        file = file.format(actor=manifest.actor)
        if file in manifest.files:
            found[name] = lambda file=file: read_picture(store, manifest, file)  # type: ignore[misc]
    if manifest.asset == "training_variations":
        for name, held_out in (("training_set", False), ("held_out_set", True)):
            files = [
                file
                for file in manifest.files
                if file.endswith(".png") and file.startswith(HELD_OUT) == held_out
            ]
            if files:
                found[name] = lambda files=files: sheet_of(store, manifest, files)  # type: ignore[misc]
    return found


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
