"""Consent: before anything touches a real person's photographs, a record must say who allowed what, until when, on what evidence.

The threat: someone's face is embedded, trained on or published without them having agreed, or after they took it back.
The mechanism: `likeness: real` needs consent.yaml beside actor.yaml. Scope, dates, revocation and the evidence's hash are checked
each time, before any photograph is read.
Its limits: the record is what the operator says. Nothing here can tell whether the signature is genuine, or whether an
actor called synthetic is one.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from upath import UPath

from avatar_pipeline.errors import ActorError
from avatar_pipeline.provenance.digests import sha256_bytes

if TYPE_CHECKING:
    from avatar_pipeline.actors.spec import ActorSpec

Scope = Literal["embed", "train", "generate", "publish"]

EXAMPLE = """\
subject: Jane Doe                      # who consented
scope: [embed, train, generate]        # to what; add publish to let pictures leave the house
granted: 2026-01-15                    # first day
expires: 2027-01-15                    # last day
evidence:
  file: consent.pdf                    # the signed paper, scanned, in this folder
  sha256: <what `sha256sum consent.pdf` prints>
"""


class Evidence(BaseModel):
    """The signed paper: a file in the actor's folder, and its sha256 (hexadecimal)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$", description="a file name in the actor's folder, without a path")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Consent(BaseModel):
    """The content of a consent.yaml. Both dates count as whole days in UTC, first and last included."""

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


def require_consent(spec: ActorSpec, actor_dir: UPath, scope: Scope) -> None:
    """Let a synthetic actor pass; for a real person, raise ActorError unless consent.yaml allows `scope` today.

    actor_dir: the folder that holds actor.yaml. The error tells which file to provide, or which field refuses.
    """
    if spec.likeness == "synthetic":
        return
    path = actor_dir / "consent.yaml"
    if not path.exists():
        raise ActorError(_what_to_provide(spec, actor_dir))
    consent = _load(path)
    today = datetime.now(UTC).date()
    renew = f"Ask {consent.subject} anew and renew {path}, or remove the actor."
    if consent.revoked_at is not None:
        raise ActorError(f"{path}: consent was revoked (revoked_at: {consent.revoked_at}); stop using {spec.name}. {renew}")
    if today < consent.granted:
        raise ActorError(f"{path}: consent begins on {consent.granted} (granted), and today is {today}. Wait, or mend it.")
    if today > consent.expires:
        raise ActorError(f"{path}: consent expired on {consent.expires} (expires), and today is {today}. {renew}")
    if scope not in consent.scope:
        raise ActorError(
            f"{path}: consent does not cover '{scope}'; its scope is {', '.join(consent.scope)}. "
            f"If {consent.subject} agrees to it, add it to scope, with new evidence."
        )
    _check_evidence(consent.evidence, actor_dir, path)


def _load(path: UPath) -> Consent:
    try:
        return Consent.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ActorError(f"{path} cannot be read as YAML: {error}. It should look like this:\n{EXAMPLE}") from None
    except ValidationError as error:
        faults = "\n".join(f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ActorError(f"{faults}\nIt should look like this:\n{EXAMPLE}") from None


def _check_evidence(evidence: Evidence, actor_dir: UPath, path: UPath) -> None:
    file = actor_dir / evidence.file
    if not file.is_file():
        raise ActorError(f"{path}: the evidence is missing: there is no file {file}. Put the signed consent there.")
    found = sha256_bytes(file.read_bytes())
    if found != evidence.sha256:
        raise ActorError(
            f"{path}: the evidence {file} is not the file that was recorded: its sha256 is {found}, "
            f"evidence.sha256 says {evidence.sha256}. Restore the file, or record the new one."
        )


def _what_to_provide(spec: ActorSpec, actor_dir: UPath) -> str:
    indented = "".join(f"      {line}\n" for line in EXAMPLE.splitlines())
    return (
        f"{spec.name} is a real person (likeness: real in actor.yaml), and there is no consent record.\n"
        f"Provide:\n"
        f"  {actor_dir / 'photos'}\n"
        f"      10 to 20 photographs of the person (JPEG, PNG or WebP): one face, sharp, several views, expressions and lights\n"
        f"  {actor_dir / 'consent.pdf'}\n"
        f"      the signed consent, scanned; any file name and type will do\n"
        f"  {actor_dir / 'consent.yaml'}\n"
        f"      the record of it:\n{indented}"
        f"They are read anew at each run, and git ignores all three."
    )
