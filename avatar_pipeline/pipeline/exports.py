"""The drop-in copies: finished portraits in one flat folder, where other programs look for
assets/avatars/{actor}.jpg.

They leave the house: each is signed (content_credentials/sign.py). The versions in the store are
not, as a signature is never twice the same.
"""

from __future__ import annotations

import os
from pathlib import Path

from upath import UPath

from avatar_pipeline.actors.consent.standing import require_consent
from avatar_pipeline.actors.files import write_atomic
from avatar_pipeline.actors.handed_out import note
from avatar_pipeline.actors.published_copies import refuse_if_revoked, remember
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.content_credentials.sign import Origin, sign
from avatar_pipeline.core.digests import sha256_bytes

FOLDER_VARIABLE = "AVATAR_EXPORTS"


def exports_root() -> UPath:
    """The folder of the drop-in copies: the environment variable AVATAR_EXPORTS (a path or URL),
    else assets/avatars.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    return UPath(chosen) if chosen else UPath(Path(__file__).parents[2] / "assets" / "avatars")


def drop_in_path(actor: str) -> UPath:
    """Where an actor's portrait lies there."""
    return exports_root() / f"{actor}.jpg"


def drop_in(store: ActorStore, spec: ActorSpec, jpeg: bytes, origin: Origin) -> UPath:
    """Put a signed copy of an actor's portrait there, whole or not at all; returns its path.

    Raises ActorError without consent to `publish`, asked for right before it is written, and when
    that was revoked meanwhile: the copy is removed then. Raises CredentialsError when it cannot be
    signed: what was there before stays.
    """
    path, folder = drop_in_path(spec.name), store.actor_dir(spec.name)
    data = sign(jpeg, origin)
    remember(spec, path)
    require_consent(spec, folder, "publish")
    if spec.likeness == "real":
        note(spec.name, [sha256_bytes(data)])
    write_atomic(path, data)
    refuse_if_revoked(folder, path)
    return path
