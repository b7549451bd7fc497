"""Folders of photographs that were dropped in before a person has said whom they show."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from avatar_pipeline.actors.scan import ActorFingerprint, misnamed_folders
from avatar_pipeline.actors.store import ActorStore


def undeclared_folders(
    store: ActorStore,
    seen: Mapping[str, ActorFingerprint],
    known: Collection[str],
    *,
    every: bool,
) -> dict[str, str]:
    """Return what to do about folders with photographs and without an actor.yaml, by folder.

    seen: what was found of the actors. known: the actors that Dagster knows. every: also those
    whose name cannot be an actor's. Nothing is made of such photographs.
    """
    found = {
        actor: _declare(store, actor, state)
        for actor, state in seen.items()
        if state.pictures and not state.has_spec and actor not in known
    }
    if every:
        found |= {
            folder: f"{store.root / folder} holds photographs, and no actor can have that name: "
            "use lower-case letters, digits and underscores, such as "
            f"{re.sub('[^a-z0-9]+', '_', folder.lower()).strip('_') or 'jane_doe'}."
            for folder in misnamed_folders(store)
        }
    return found


def _declare(store: ActorStore, actor: str, seen: ActorFingerprint) -> str:
    folder = store.actor_dir(actor)
    where = "" if seen.pictures == "photos/" else f" --photos {folder}"
    return (
        f"{folder} holds photographs and no actor.yaml, and waits. Say who it is: avatar-pipeline "
        f"new-actor {actor} --description '...'{where} --likeness real (a living person, whose "
        "consent is then needed) or --likeness synthetic (a person who does not exist)."
    )
