"""A folder of an actor that was renamed or copied: whose versions it holds, and how they become the
present actor's.

The threat: `mv data/actors/A data/actors/B` leaves versions in B whose manifests and files say A.
Taken for damaged, everything would be made again for its name alone. Taken over blindly, a folder
in which another person's photographs and consent were put would pass one person's LoRA for
another's.
The mechanism: A is gone, or has none of these versions: then B was A. Files that are named after
the actor get the present name, manifests say it, and note under which name the digest counts: it
stays. A real person's versions are taken over only if consent holds and the photographs are those
that they were made from.
Its limits: what is written inside of files (a LoRA's notes, a report) says the former name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from upath import UPath

from avatar_pipeline.actors.files import read_whole, write_atomic
from avatar_pipeline.actors.former_names import add_former_name, name_in_manifest
from avatar_pipeline.actors.manifest import MANIFEST, Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import ActorError, AvatarPipelineError, StoreError
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.stage import PHOTOS
from avatar_pipeline.pipeline.versions import photos_version


@dataclass(frozen=True)
class Foreign:
    """Versions in an actor's folder that say another actor's name. how: that one was renamed to
    this one, or is still there with the same versions.
    """

    actor: str
    former: str
    how: Literal["renamed", "copied"]


def find_foreign(store: ActorStore, name: str) -> Foreign | None:
    """Return whose versions an actor's folder holds, when they are not its own."""
    folder = store.actor_dir(name)
    for asset in STAGES:
        said, digest = name_in_manifest(folder / asset)
        if not said or said == name:
            continue
        try:
            other = store.actor_dir(said)
        except ActorError:  # no name that an actor can have
            return None
        copied = (other / "actor.yaml").is_file() and any(
            name_in_manifest(path) == (said, digest)
            for path in (other / asset, other / "versions" / asset / digest)
        )
        return Foreign(name, said, "copied" if copied else "renamed")
    return None


def copied_note(store: ActorStore, foreign: Foreign) -> str:
    """Return what to tell about a copied folder."""
    spec = store.spec(foreign.actor)
    folders = f"{store.actor_dir(foreign.actor)}/versions and the folders of its assets"
    note = (
        f"{foreign.actor} is a copy of {foreign.former}: the versions in it are "
        f"{foreign.former}'s, and do not count as its own. A run makes its own; remove "
        f"{folders} to get rid of the copies."
    )
    if spec.likeness == "real":
        note += (
            f" The consent that was copied is that of {foreign.former}'s person: if "
            f"{foreign.actor} is somebody else, record theirs (avatar-pipeline consent grant "
            f"{foreign.actor} --replace). Revoking {foreign.former} does not reach the copy."
        )
    return note


def take_over(store: ActorStore, foreign: Foreign) -> list[Manifest]:
    """Make a renamed actor's versions its own; return the current ones, in the order of the chain.

    Killed in the middle, it goes on when it is called again. Raises ActorError where a real
    person's consent does not hold, or the photographs are others than the versions were made from;
    nothing is changed then.
    """
    name, former = foreign.actor, foreign.former
    folder = store.actor_dir(name)
    _require_same_person(store, foreign)
    with store.writing(name):
        add_former_name(folder, former)
        for asset in STAGES:
            versions = folder / "versions" / asset
            for version in sorted(versions.iterdir()) if versions.is_dir() else ():
                _rename(version, asset, name, former)
            said, digest = name_in_manifest(folder / asset)
            if said != former:
                continue
            manifest = store.version(name, asset, digest)
            if manifest is not None:
                store.make_current(manifest, store.read_all(manifest))
    return [store.current(name, asset) for asset in STAGES if store.has(name, asset)]


def _require_same_person(store: ActorStore, foreign: Foreign) -> None:
    if store.spec(foreign.actor).likeness == "synthetic":
        return
    photos = photos_version(store.photos(foreign.actor))  # consent first
    made = _read(store.actor_dir(foreign.actor) / next(iter(STAGES)) / MANIFEST)
    if made is None or made.inputs.get(PHOTOS) != photos:
        raise ActorError(
            f"{foreign.actor} holds versions of {foreign.former}, which were made from other "
            "photographs than those that it has now: they are not taken over, as they may show "
            f"another person. If {foreign.actor} is {foreign.former} under a new name, put the "
            "photographs back as they were, register, and change them then. If not, move "
            f"{store.actor_dir(foreign.actor)}/versions and the folders of the assets away."
        )


def _rename(version: UPath, asset: str, name: str, former: str) -> None:
    """Give one version the present name. The manifest is written between the new files and the
    removal of the old ones: it always finds its files.
    """
    manifest = _read(version / MANIFEST)
    if manifest is None or manifest.actor != former:
        return
    pairs = {
        old: wanted.format(actor=name)
        for wanted in STAGES[asset].named
        if (old := wanted.format(actor=former)) in manifest.files
    }
    for old, new in pairs.items():
        write_atomic(version / new, read_whole(version / old))
    files = {pairs.get(file, file): entry for file, entry in manifest.files.items()}
    named = {
        pairs.get(file, file): manifest.named.get(file, file)
        for file in manifest.files
        if file in pairs or file in manifest.named
    }
    changed = manifest.model_copy(update={"actor": name, "files": files, "named": named})
    write_atomic(version / MANIFEST, changed.to_json().encode())
    for old in pairs:
        (version / old).unlink(missing_ok=True)


def _read(path: UPath) -> Manifest | None:
    try:
        return Manifest.from_json(read_whole(path), name=str(path))
    except (OSError, AvatarPipelineError, StoreError):
        return None
