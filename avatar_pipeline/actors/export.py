"""The drop-in copies: finished portraits in one flat folder, where other programs look for assets/avatars/{actor}.jpg.

They leave the house: each is signed (provenance/credentials.py). The versions in the store are not, as a signature is never twice the same.
"""

from __future__ import annotations

import os
from pathlib import Path

from upath import UPath

from avatar_pipeline.actors.files import write_atomic
from avatar_pipeline.provenance.credentials import Origin, sign

FOLDER_VARIABLE = "AVATAR_EXPORTS"


def exports_root() -> UPath:
    """The folder of the drop-in copies: the environment variable AVATAR_EXPORTS (a path or URL), else assets/avatars."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    return UPath(chosen) if chosen else UPath(Path(__file__).parents[2] / "assets" / "avatars")


def drop_in_path(actor: str) -> UPath:
    """Where an actor's portrait lies there."""
    return exports_root() / f"{actor}.jpg"


def drop_in(actor: str, jpeg: bytes, origin: Origin) -> UPath:
    """Put a signed copy of a portrait there, whole or not at all; returns its path. Ask for consent to `publish` right before.

    Raises CredentialsError when it cannot be signed: what was there before stays.
    """
    path = drop_in_path(actor)
    write_atomic(path, sign(jpeg, origin))
    return path
