"""Whether consent was revoked: what is asked of a record that need not be valid, and the last check
before a file is written.
"""

from __future__ import annotations

from typing import Any

import yaml
from upath import UPath

from avatar_pipeline.actors.consent.record import FILE, load_record, read_record, revoked_in
from avatar_pipeline.actors.files import read_whole
from avatar_pipeline.core.errors import ActorError


def revoked(actor_dir: UPath) -> str | None:
    """Return when the consent to an actor was revoked, as consent.yaml says it; None when it was
    not.

    The rest of the record need not be valid: a revocation must not fail because of a wrong date
    elsewhere. Raises ActorError for a record that cannot be read, as it may say so.
    """
    path = actor_dir / FILE
    data = read_record(path)
    return None if data is None else revoked_in(path, data)


def may_be_revoked(actor_dir: UPath) -> bool:
    """Return whether consent was revoked, or the record that would say so cannot be read."""
    try:
        return revoked(actor_dir) is not None
    except ActorError:
        return True


def is_real(actor_dir: UPath) -> bool:
    """Return whether an actor is a real person, as actor.yaml says it; the rest of it need not be
    valid. One that cannot be read counts as yes.
    """
    try:
        # libyaml where there is one: some ten thousand actors may be asked for
        content: Any = yaml.load(
            read_whole(actor_dir / "actor.yaml"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
        return bool(content["likeness"] != "synthetic")
    except (OSError, yaml.YAMLError, ValueError, TypeError, KeyError):
        return True


def refuse_revoked(actor_dir: UPath, what: str) -> None:
    """Refuse what must not be stored: the last check before a file is written. what: it, in words.

    Raises ActorError when the consent to an actor was revoked, and when the record cannot be read;
    a real person's has to be there, and whole. Dates and scopes were asked for before: what was
    learned until consent expired may be kept for the day when it is renewed.
    """
    path = actor_dir / FILE
    try:
        data = read_record(path)
        when = None if data is None else revoked_in(path, data)
        if when is None and is_real(actor_dir):
            if data is None:
                raise ActorError(
                    f"{path} is missing, and {actor_dir / 'actor.yaml'} does not say "
                    "likeness: synthetic."
                )
            load_record(path, data)
    except ActorError as error:
        raise ActorError(f"{what} was not stored: {error}", code="no_consent") from None
    if when is not None:
        raise ActorError(
            f"{path}: consent was revoked (revoked_at: {when}): {what} was not stored.",
            code="no_consent",
        )
