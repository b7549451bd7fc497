"""The drop-in copies: finished portraits in one flat folder, where other programs look for assets/avatars/{actor}.jpg."""

from __future__ import annotations

import os
from pathlib import Path

from upath import UPath

from avatar_pipeline.actors.files import write_atomic

FOLDER_VARIABLE = "AVATAR_EXPORTS"


def exports_root() -> UPath:
    """The folder of the drop-in copies: the environment variable AVATAR_EXPORTS (a path or URL), else assets/avatars."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    return UPath(chosen) if chosen else UPath(Path(__file__).parents[2] / "assets" / "avatars")


def drop_in_path(actor: str) -> UPath:
    """Where an actor's portrait lies there."""
    return exports_root() / f"{actor}.jpg"


def drop_in(actor: str, jpeg: bytes) -> UPath:
    """Put a portrait there, whole or not at all; returns its path. Ask for consent to `publish` right before."""
    path = drop_in_path(actor)
    write_atomic(path, jpeg)
    return path
