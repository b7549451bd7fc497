"""What an actor was called before its folder was renamed: versions/names.json.

A version's digest is of its files' names and contents, and the version of actor.yaml is of the name
too. So that nothing is made again for its name alone, both go on counting under the first name.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from upath import UPath

from avatar_pipeline.actors.files import read_whole, write_atomic
from avatar_pipeline.actors.manifest import MANIFEST
from avatar_pipeline.core.errors import StoreError


class FormerNames(BaseModel):
    """former: the names that the actor had, the first one first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    former: list[str] = []

    @property
    def first(self) -> str:
        """The name that counts in versions; empty for an actor that always had its name."""
        return self.former[0] if self.former else ""


def names_file(actor_dir: UPath) -> UPath:
    """Return where an actor's former names are kept, whether it had any or not."""
    return actor_dir / "versions" / "names.json"


def former_names(actor_dir: UPath) -> FormerNames:
    """Return an actor's former names. Raises StoreError for a damaged file."""
    path = names_file(actor_dir)
    try:
        return FormerNames.model_validate_json(read_whole(path))
    except FileNotFoundError:
        return FormerNames()
    except ValidationError as error:
        raise StoreError(
            f"{path} is damaged ({error.errors()[0]['msg']}). Restore it, or write "
            '{"former": ["the first name of the actor"]} into it.'
        ) from None


def add_former_name(actor_dir: UPath, name: str) -> None:
    """Note that an actor was called `name` until now."""
    before = former_names(actor_dir).former
    if name not in before:
        text = FormerNames(former=[*before, name]).model_dump_json()
        write_atomic(names_file(actor_dir), f"{text}\n".encode())


def name_in_manifest(folder: UPath) -> tuple[str, str]:
    """Return whose version an asset's folder holds, and its digest, as its manifest says; two empty
    texts where there is none that can be read.
    """
    try:
        content: Any = json.loads(read_whole(folder / MANIFEST))
        return str(content["actor"]), str(content["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""
