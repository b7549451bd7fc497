"""Actors to test with, in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from upath import UPath

from avatar_pipeline.actors.store import ActorStore

MakeActor = Callable[..., UPath]


@pytest.fixture
def store(tmp_path: Path) -> ActorStore:
    """An empty store on the local disk."""
    (tmp_path / "actors").mkdir()
    return ActorStore(tmp_path / "actors")


@pytest.fixture
def make_actor(store: ActorStore) -> MakeActor:
    """Write an actor.yaml; returns the actor's folder."""

    def make(name: str, **fields: str) -> UPath:
        fields = {
            "description": "european 25 year old male with brown hair",
            "likeness": "synthetic",
        } | fields
        folder = store.root / name
        folder.mkdir()
        (folder / "actor.yaml").write_text(
            "".join(f"{key}: {value}\n" for key, value in fields.items())
        )
        return folder

    return make
