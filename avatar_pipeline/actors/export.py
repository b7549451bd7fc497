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


def drop_in(actor: str, jpeg: bytes) -> UPath:
    """Put a portrait there, whole or not at all; returns its path."""
    path = exports_root() / f"{actor}.jpg"
    write_atomic(path, jpeg)
    return path
