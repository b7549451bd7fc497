"""What the last registration saw of each actor: a file of the home folder, so that an unchanged
actor costs neither a read nor a query.

It is only a memory of what Dagster was given. Lost, damaged or of another store, it costs one
reading of every actor.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from avatar_pipeline import __version__
from avatar_pipeline.actors.files import write_atomic
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.home import home_folder

FILE = "actors.json"

logger = logging.getLogger(__name__)


class RegisteredActor(BaseModel):
    """An actor as it was read last.

    fingerprint: of its files as they were then (`look` in indexes written before). spec, photos,
    model: the versions that Dagster was given, None where there was none to tell.
    preset, values: what actor.yaml says of the base model. problem: what its owner must fix. day:
    for a real person, when consent was judged (UTC, ISO): it begins and ends on a day, whatever the
    files do. revoked: consent was taken back; nothing else was read then. left_out: what lies in
    photos/ and is not taken, and why.
    """

    model_config = ConfigDict(extra="forbid")

    fingerprint: str = Field(validation_alias=AliasChoices("fingerprint", "look"))
    spec: str | None = None
    photos: str | None = None
    model: str | None = None
    preset: str | None = None
    values: dict[str, Any] = {}
    problem: str | None = None
    day: str | None = None
    revoked: bool = False
    left_out: list[str] = []


class Index(BaseModel):
    """The whole file. moving: by actor whose files were not still, their fingerprint and since when
    (seconds since 1970).
    """

    model_config = ConfigDict(extra="forbid")

    program: str = __version__
    root: str
    actors: dict[str, RegisteredActor] = {}
    moving: dict[str, tuple[str, float]] = {}


def read_index(store: ActorStore) -> Index:
    """Return the index for a store; an empty one, with a warning where a file was there and is of
    no use.
    """
    path, fresh = _path(), Index(root=str(store.root))
    if not path.is_file():
        return fresh
    try:
        found = Index.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        fault = error if isinstance(error, OSError) else error.errors()[0]["msg"]
        logger.warning("%s cannot be used (%s): every actor is read once more.", path, fault)
        return fresh
    if (found.root, found.program) != (fresh.root, fresh.program):
        logger.warning(
            "%s is about %s, version %s: every actor is read once more.",
            path,
            found.root,
            found.program,
        )
        return fresh
    return found


def write_index(index: Index, before: Mapping[str, Any]) -> None:
    """Keep the index, unless it says what it said `before` (its `model_dump`)."""
    from upath import UPath

    if index.model_dump() != before:
        write_atomic(UPath(_path()), index.model_dump_json().encode())


def _path() -> Path:
    return home_folder() / FILE
