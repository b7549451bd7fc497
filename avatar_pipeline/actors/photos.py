"""An actor's photographs: the files as they were provided. Nothing is decoded here;
imaging.open_image does that.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from upath import UPath

from avatar_pipeline.actors.consent.standing import require_consent
from avatar_pipeline.actors.files import local, read_whole, write_atomic
from avatar_pipeline.actors.photo_folder import caption_in, look_into
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.core.openpeople import asset_path, emotion_tiles
from avatar_pipeline.imaging.images import MAX_BYTES, encode_png
from avatar_pipeline.imaging.kinds import READ_IN_WORDS


@dataclass(frozen=True)
class Photo:
    """One photograph. name: its file name, behind that of its folder in photos/ where it lies in
    one. data: the file's bytes, not decoded. sha256: of data, hexadecimal. caption: what its
    caption file says of it. problem: why it is not taken; then there is no data, and sha256 is that
    of these words.
    """

    name: str
    data: bytes = field(repr=False)
    sha256: str
    caption: str = ""
    problem: str = ""


def load_photos(actor_dir: UPath, spec: ActorSpec) -> list[Photo]:
    """Return the photographs in the actor's folder photos/, sorted by name, and those that are not
    taken, with their problem; none for an actor of words only (photos: none).

    Consent is checked before the folder is looked at. Raises ActorError when a real person's
    consent is missing, and PhotoError when the folder is missing or holds no photograph.
    """
    require_consent(spec, actor_dir, "embed")
    if not spec.has_photographs:
        return []
    folder = actor_dir / "photos"
    found = look_into(folder)
    photos = [_problem(name, reason) for name, reason in found.pictures.items()]
    for name, file in found.photographs.items():
        size = file.stat().st_size
        if size > MAX_BYTES:
            reason = f"too long: {size} bytes, at most {MAX_BYTES}. Save a smaller copy of it"
            photos.append(_problem(name, reason))
            continue
        data = read_whole(file)
        text = found.captions.get(name)
        caption = caption_in(read_whole(text)) if text is not None else ""
        photos.append(Photo(name, data, sha256_bytes(data), caption))
    if all(photo.problem for photo in photos):
        state = "holds no photographs" if folder.is_dir() else "is missing"
        lines = [f"{photo.name} is {photo.problem}" for photo in photos]
        raise PhotoError(
            f"{folder} {state}, and {spec.name} is made from photographs (photos: {spec.photos} "
            f"in actor.yaml). Put 10 to 20 photographs of the person there ({READ_IN_WORDS}), or "
            f"set 'photos: none'.{not_taken(lines)}"
        )
    return sorted(photos, key=lambda photo: photo.name)


def not_taken(left_out: Sequence[str]) -> str:
    """Return lines for the end of a message: what lies in the folder and is not taken, and why."""
    return "".join(f"\n  not taken: {line}" for line in left_out)


def _problem(name: str, reason: str) -> Photo:
    return Photo(name, b"", sha256_bytes(reason.encode()), problem=reason)


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
    """Return the photographs in a folder, as `look_into` finds them."""
    return list(look_into(folder).photographs.values())
