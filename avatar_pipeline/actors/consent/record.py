"""The record of a person's consent, consent.yaml: who allowed what, until when, on what evidence.
What follows from it is in standing.py and revoked.py.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from upath import UPath

from avatar_pipeline.actors.files import read_whole, store_errors
from avatar_pipeline.core.errors import ActorError, StoreError

Scope = Literal["embed", "train", "generate", "publish"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
FILE = "consent.yaml"

EXAMPLE = """\
subject: Jane Doe                            # who consented
scope: [embed, train, generate, publish]     # to what; without publish, no image leaves and no export is made
granted: 2026-01-15                          # first day
expires: 2027-01-15                          # last day
evidence:
  file: consent.pdf                          # the signed paper, scanned, in this folder
  sha256: <what `sha256sum consent.pdf` prints>
"""  # noqa: E501


class Evidence(BaseModel):
    """The signed paper: a file in the actor's folder, and its sha256 (hexadecimal)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$",
        description="a file name in the actor's folder, without a path",
    )
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Consent(BaseModel):
    """The content of a consent.yaml. Both dates count as whole days in UTC, first and last
    included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: str = Field(min_length=1)
    scope: list[Scope] = Field(min_length=1)
    granted: date
    expires: date
    evidence: Evidence
    revoked_at: datetime | date | None = None

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Consent:
        if self.expires < self.granted:
            raise ValueError(f"expires ({self.expires}) lies before granted ({self.granted})")
        return self


def read_record(path: UPath) -> bytes | None:
    """Return the record's bytes, None when there is none. Raises ActorError when they cannot be
    read.
    """
    try:
        with store_errors(path):
            return read_whole(path)
    except FileNotFoundError:
        return None
    except (OSError, StoreError) as error:
        raise ActorError(
            f"{path} cannot be read ({error}), and may say that consent was revoked: it counts as "
            "a refusal until it can be read.",
            code="no_consent",
        ) from None


def revoked_in(path: UPath, data: bytes) -> str | None:
    """Return `revoked_at` of a record. Raises ActorError for what is no mapping in YAML."""
    try:
        content: Any = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError) as error:  # no text, or a date such as 2026-13-01
        raise ActorError(
            f"{path} cannot be read as YAML: {error}. It should look like this:\n{EXAMPLE}",
            code="no_consent",
        ) from None
    if not isinstance(content, dict | None):
        raise ActorError(
            f"{path} holds no fields. It should look like this:\n{EXAMPLE}", code="no_consent"
        )
    when = (content or {}).get("revoked_at")
    return None if when is None else str(when)


def load_record(path: UPath, data: bytes) -> Consent:
    """Return the record. Raises ActorError for what is no valid one."""
    try:
        return Consent.model_validate(yaml.safe_load(data))
    except ValidationError as error:
        faults = "\n".join(
            f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors()
        )
        raise ActorError(f"{faults}\nIt should look like this:\n{EXAMPLE}") from None
