"""Make a new actor's folder: actor.yaml, and a copy of the photographs."""

from __future__ import annotations

import yaml
from upath import UPath

from avatar_pipeline.actors.description import check_description
from avatar_pipeline.actors.files import write_atomic
from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.photo_folder import FolderContents, look_into
from avatar_pipeline.actors.photos import not_taken
from avatar_pipeline.actors.spec import load_spec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import ActorError, PhotoError
from avatar_pipeline.imaging.kinds import READ_IN_WORDS


def create_actor(
    store: ActorStore,
    name: str,
    *,
    description: str,
    photos: UPath | None,
    likeness: str,
    framing: str,
) -> tuple[UPath, list[str]]:
    """Make the actor's folder with its actor.yaml; returns the folder, and warnings about the
    description and about what is not taken of `photos`.

    photos: a folder of photographs, or a data set folder of kohya's, with captions.

    Raises ActorError when the actor exists or a field is not usable, and PhotoError when `photos`
    is no folder with photographs. Nothing is left behind then.
    """
    folder = store.actor_dir(name)
    path = folder / "actor.yaml"
    if path.exists():
        raise ActorError(f"{path} exists. Choose another name, or edit the file.")
    found = look_into(photos) if photos is not None else FolderContents()
    if photos is not None and not found.photographs:
        raise PhotoError(
            f"{photos} holds no photographs ({READ_IN_WORDS}). Give a folder with 10 to 20 "
            f"photographs of the person.{not_taken(found.left_out)}"
        )
    content = {
        "description": description,
        "likeness": likeness,
        "photos": "folder" if photos is not None else "none",
        "framing": framing,
        "seed": -1,
        "preset": "embedded",
    }
    write_atomic(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())
    try:
        load_spec(path, ActorName(name))
    except ActorError:
        path.unlink()
        raise
    for name, photo in found.photographs.items():
        write_atomic(folder / "photos" / name, photo.read_bytes())
    for name, caption in found.captions.items():
        beside = (folder / "photos" / name).parent
        write_atomic(beside / caption.name, caption.read_bytes())
    warnings = [f"not taken from {photos}: {line}" for line in found.left_out]
    return folder, [*warnings, *check_description(description)]
