"""Make a new actor's folder: actor.yaml, and a copy of the photographs."""

from __future__ import annotations

import yaml
from upath import UPath

from avatar_pipeline.actors.description import check_description
from avatar_pipeline.actors.files import write_atomic
from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.photos import photographs
from avatar_pipeline.actors.spec import load_spec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import ActorError, PhotoError


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
    description.

    Raises ActorError when the actor exists or a field is not usable, and PhotoError when `photos`
    is no folder with photographs. Nothing is left behind then.
    """
    folder = store.actor_dir(name)
    path = folder / "actor.yaml"
    if path.exists():
        raise ActorError(f"{path} exists. Choose another name, or edit the file.")
    if photos is not None and not photographs(photos):
        raise PhotoError(
            f"{photos} holds no photographs (JPEG, PNG or WebP). Give a folder with 10 to 20 "
            "photographs of the person."
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
    for photo in photographs(photos) if photos is not None else []:
        write_atomic(folder / "photos" / photo.name, photo.read_bytes())
    return folder, check_description(description)
