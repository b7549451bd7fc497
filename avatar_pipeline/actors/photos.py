"""An actor's photographs: the files as they were provided. Nothing is decoded here;
imaging.open_image does that.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from upath import UPath

from avatar_pipeline.actors.consent.standing import require_consent
from avatar_pipeline.actors.files import files_in, local, read_whole, write_atomic
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.core.openpeople import asset_path, emotion_tiles
from avatar_pipeline.imaging.images import MAX_BYTES, encode_png

EXTENSIONS = (".jpg", ".jpeg", ".jfif", ".png", ".webp")
# Pictures that cameras and phones write and that are not read: skipping them silently would lose
# photographs.
OTHER_PICTURES = (
    ".heic",
    ".heif",
    ".avif",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".dng",
    ".cr2",
    ".cr3",
    ".nef",
    ".arw",
)


@dataclass(frozen=True)
class Photo:
    """One photograph. name: its file name. data: the file's bytes, not decoded. sha256: of data,
    hexadecimal.
    """

    name: str
    data: bytes = field(repr=False)
    sha256: str


def load_photos(actor_dir: UPath, spec: ActorSpec) -> list[Photo]:
    """Return the photographs in the actor's folder photos/, sorted by name; none for an actor of
    words only (photos: none).

    Consent is checked before the folder is looked at. Raises ActorError when a real person's
    consent is missing, and PhotoError when the folder is missing or holds no photograph, or a
    picture of an unknown type or above 64 MiB.
    """
    require_consent(spec, actor_dir, "embed")
    if not spec.has_photographs:
        return []
    folder = actor_dir / "photos"
    files = photographs(folder)
    if not files:
        state = "holds no photographs" if folder.is_dir() else "is missing"
        raise PhotoError(
            f"{folder} {state}, and {spec.name} is made from photographs (photos: {spec.photos} "
            "in actor.yaml). "
            "Put 10 to 20 photographs of the person there (JPEG, PNG or WebP), or set 'photos: "
            "none'."
        )
    photos = []
    for file in files:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise PhotoError(
                f"{file} is too long: {size} bytes, at most {MAX_BYTES}. Save a "
                "smaller copy of the photograph."
            )
        data = read_whole(file)
        photos.append(Photo(file.name, data, sha256_bytes(data)))
    return photos


def import_openpeople(person: str, photos_dir: UPath) -> int:
    """Fill an empty photos/ with the pictures of a synthetic person ("P001" to "P010"): 16
    emotions, a portrait, a selfie.

    The files are 01_neutral.png to 16_determined.png, 17_studio_portrait.jpg and
    18_amateur_selfie.jpg, the same bytes each time. On a disk the folder appears whole or not at
    all. Returns how many files were written: 0 when photographs are there already. Raises
    PhotoError when the package openpeople is not installed.
    """
    if photographs(photos_dir):
        return 0
    tiles = emotion_tiles(person)
    files = {
        f"{number:02d}_{emotion}.png": encode_png(tile)
        for number, (emotion, tile) in enumerate(tiles.items(), 1)
    }
    for kind in ("studio_portrait", "amateur_selfie"):
        files[f"{len(files) + 1:02d}_{kind}.jpg"] = asset_path(person, kind).read_bytes()
    folder = local(photos_dir)
    if folder is None:  # an object store: there are no folders to rename
        for name, data in files.items():
            write_atomic(photos_dir / name, data)
        return len(files)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".photos.", suffix=".tmp", dir=folder.parent))
    try:
        for name, data in files.items():
            (temporary / name).write_bytes(data)
        # mkdtemp's 0700 would hide the photographs from other users of a shared disk
        temporary.chmod(0o755)
        folder.mkdir(exist_ok=True)
        # a note or a hidden file lies there: then the photographs come one by one
        if any(folder.iterdir()):
            for file in sorted(temporary.iterdir()):
                file.replace(folder / file.name)
        else:
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return len(files)


def photographs(folder: UPath) -> list[UPath]:
    """Return the photographs in a folder, sorted by name; hidden files, texts and subfolders are
    passed over.

    Raises PhotoError for a picture of a type that is not read, such as HEIC.
    """
    found = []
    for file in files_in(folder):
        if file.name.startswith("."):
            continue
        if file.suffix.lower() in OTHER_PICTURES:
            raise PhotoError(
                f"{file} is of a type that is not read. Export it as JPEG, PNG or "
                "WebP, or remove it."
            )
        if file.suffix.lower() in EXTENSIONS:
            found.append(file)
    return found
