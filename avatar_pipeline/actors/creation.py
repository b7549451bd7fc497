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
from avatar_pipeline.core.seeds import draw_seed
from avatar_pipeline.imaging.kinds import READ_IN_WORDS


def shows_somebody(store: ActorStore, name: str, photos: UPath | None) -> bool:
    """Return whether a new actor would be made from photographs: from `photos`, or from those that
    lie in the actor's folder photos/ already. Then nothing but a person's word tells whether a
    living person is shown.
    """
    return photos is not None or bool(look_into(store.actor_dir(name) / "photos").photographs)


def create_actor(
    store: ActorStore,
    name: str,
    *,
    description: str,
    photos: UPath | None,
    likeness: str | None,
    framing: str,
) -> tuple[UPath, list[str]]:
    """Make the actor's folder with its actor.yaml; returns the folder, and warnings about the
    description and about what is not taken of `photos`. The root seed is drawn here, once, and
    written down: a photograph that changes later moves nothing but itself.

    photos: a folder whose photographs are copied, or a data set folder of kohya's, with captions;
    None for those that lie in the actor's folder
    photos/ already, or for none. likeness: "real" or "synthetic"; None only without photographs,
    where it means synthetic. Raises ActorError when the actor exists or a field is not usable, and
    PhotoError when `photos` is no folder with photographs. Nothing is left behind then.
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
    from_photographs = shows_somebody(store, name, photos)
    if likeness is None and from_photographs:
        raise ActorError(
            f"Whom do the photographs show? Add --likeness real for a living person, who must then "
            f"consent (avatar-pipeline consent grant {name}), or --likeness synthetic for a person "
            "who does not exist."
        )
    content = {
        "description": description,
        "likeness": likeness or "synthetic",
        "photos": "folder" if from_photographs else "none",
        "framing": framing,
        "seed": draw_seed(),
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
