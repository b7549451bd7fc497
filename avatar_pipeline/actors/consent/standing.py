"""Consent: before anything touches a real person's photographs, a record must say who allowed what,
until when, on what evidence.

The threat: someone's face is embedded, trained on or published without them having agreed, or after
they took it back.
The mechanism: `likeness: real` needs consent.yaml beside actor.yaml. Scope, dates, revocation and
the evidence's hash are checked each time, before any photograph is read, while work takes long, and
again before anything is stored or handed out. A record that cannot be read counts as one that
refuses: it may say that consent was revoked.
Its limits: the record is what the operator says. Nothing here can tell whether the signature is
genuine, or whether an actor called synthetic is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from upath import UPath

from avatar_pipeline.actors.files import files_in, read_whole
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import ActorError
from avatar_pipeline.imaging.kinds import READ_IN_WORDS

if TYPE_CHECKING:
    from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.consent.record import (
    EXAMPLE,
    FILE,
    Consent,
    Evidence,
    Scope,
    load_record,
    read_record,
    revoked_in,
)

State = Literal[
    "not_needed",
    "holds",
    "missing",
    "unreadable",
    "revoked",
    "not_begun",
    "expired",
    "evidence_missing",
    "evidence_altered",
]

# seconds between two checks of the record while work goes on; a check reads one small file
CHECK_INTERVAL_S = 2.0
# What records a consent; `{actor}` stands for the actor's name.
GRANT = (
    'avatar-pipeline consent grant {actor} --subject "NAME OF THE PERSON" '
    "--scope embed,train,generate,publish --days 365 --evidence SIGNED_PAPER.pdf"
)


@dataclass(frozen=True)
class Standing:
    """How consent stands today. words: what is so, and what to do about it. consent: the record,
    None where none can be read.
    """

    state: State
    words: str
    consent: Consent | None = None


def standing(spec: ActorSpec, actor_dir: UPath, *, evidence: bool = True) -> Standing:
    """Return how the consent to an actor stands. actor_dir: the folder that holds actor.yaml.
    evidence: compare that with its sha256, too.

    A revocation stands whatever else the record says, and whatever actor.yaml calls the actor
    since.
    """
    path = actor_dir / FILE
    try:
        data = read_record(path)
        when = None if data is None else revoked_in(path, data)
    except ActorError as error:
        return Standing("unreadable", str(error))
    if when is not None:
        words = (
            f"{path}: consent was revoked (revoked_at: {when}); stop using {spec.name}. With a "
            "new, signed consent: avatar-pipeline "
            f"consent grant {spec.name}. What is left of {spec.name}: avatar-pipeline consent "
            f"revoke {spec.name} --dry-run"
        )
        return Standing("revoked", words)
    if spec.likeness == "synthetic":
        return Standing(
            "not_needed",
            f"{spec.name} is nobody (likeness: synthetic in actor.yaml): there is nobody to ask.",
        )
    if data is None:
        return Standing("missing", _what_to_provide(spec, actor_dir))
    try:
        consent = load_record(path, data)
    except ActorError as error:
        return Standing("unreadable", str(error))
    today = datetime.now(UTC).date()
    renew = (
        f"Ask {consent.subject} again and renew it (avatar-pipeline consent grant {spec.name}), or "
        "remove the actor."
    )
    if today < consent.granted:
        words = (
            f"{path}: consent begins on {consent.granted} (granted), and today is {today}. Wait, "
            "or correct it."
        )
        return Standing("not_begun", words, consent)
    if today > consent.expires:
        words = (
            f"{path}: consent expired on {consent.expires} (expires), and today is {today}. {renew}"
        )
        return Standing("expired", words, consent)
    if evidence and (found := _fault_of_evidence(consent.evidence, actor_dir, path)):
        return Standing(*found, consent)
    left = (consent.expires - today).days
    until = f"until {consent.expires}, " + (
        "its last day is today" if left == 0 else f"for {left} more day{'s' * (left != 1)}"
    )
    return Standing(
        "holds",
        f"{consent.subject} has consented to {', '.join(consent.scope)}; it holds {until}.",
        consent,
    )


def require_consent(spec: ActorSpec, actor_dir: UPath, scope: Scope) -> None:
    """Let a synthetic actor pass; for a real person, raise ActorError unless consent.yaml allows
    `scope` today.

    actor_dir: the folder that holds actor.yaml. The error tells which file to provide, or which
    field refuses.
    """
    require_scopes(spec, actor_dir, [scope])


def require_scopes(
    spec: ActorSpec, actor_dir: UPath, scopes: Sequence[Scope], *, evidence: bool = True
) -> None:
    """Do what `require_consent` does for each of several scopes, with one reading. evidence:
    compare that with its sha256, too.
    """
    found = standing(spec, actor_dir, evidence=evidence)
    if found.state == "not_needed":
        return
    if found.state != "holds" or found.consent is None:
        raise ActorError(found.words, code="no_consent")
    for scope in scopes:
        if scope not in found.consent.scope:
            raise ActorError(
                f"{actor_dir / FILE}: consent does not cover '{scope}'; its scope is "
                f"{', '.join(found.consent.scope)}. "
                f"If {found.consent.subject} agrees to it, record that, with new evidence: "
                "avatar-pipeline consent grant "
                f"{spec.name} --replace",
                code="no_consent",
            )


def watched(spec: ActorSpec, actor_dir: UPath, scopes: Sequence[Scope]) -> Callable[[], None]:
    """Return a function to be called at every step of work that takes long: it raises ActorError
    once consent does not hold any more.

    It checks every CHECK_INTERVAL_S at most, and never for synthetic actors. The evidence, which
    may be a scan of many megabytes in an object store, is checked before and after the work only.
    """
    last = time.monotonic()

    def check() -> None:
        nonlocal last
        if spec.likeness == "real" and time.monotonic() - last >= CHECK_INTERVAL_S:
            require_scopes(spec, actor_dir, scopes, evidence=False)
            last = time.monotonic()

    return check


def _fault_of_evidence(
    evidence: Evidence, actor_dir: UPath, path: UPath
) -> tuple[State, str] | None:
    file = actor_dir / evidence.file
    if not file.is_file():
        return "evidence_missing", (
            f"{path}: the evidence is missing: there is no file {file}. "
            "Put the signed consent there."
        )
    try:
        found = sha256_bytes(read_whole(file))
    except OSError as error:
        return (
            "evidence_missing",
            f"{path}: the evidence {file} cannot be read ({error}). Repair that.",
        )
    if found != evidence.sha256:
        return "evidence_altered", (
            f"{path}: the evidence {file} is not the file that was recorded: its sha256 is "
            f"{found}, "
            f"evidence.sha256 says {evidence.sha256}. Restore the file, or record the new one."
        )
    return None


def _what_to_provide(spec: ActorSpec, actor_dir: UPath) -> str:
    indented = "".join(f"      {line}\n" for line in EXAMPLE.splitlines())
    photos = actor_dir / "photos"
    wanted = (
        f"  {photos}\n"
        f"      10 to 20 photographs of the person ({READ_IN_WORDS}): one face, sharp, several "
        "views, expressions and lights\n"
    )
    # names only: nothing is opened before there is a consent
    there = any(not file.name.startswith(".") for file in files_in(photos))
    return (
        f"{spec.name} is a real person (likeness: real in actor.yaml), and there is no consent "
        "record.\n"
        f"Provide:\n"
        f"{wanted if spec.has_photographs and not there else ''}"
        f"  {actor_dir / 'consent.pdf'}\n"
        f"      the signed consent, scanned; any file name and type will do\n"
        f"  {actor_dir / 'consent.yaml'}\n"
        f"      the record of it, such as:\n{indented}"
        "They are read again at each run, and git ignores them. This writes the record, and puts "
        "the paper beside it:\n"
        f"  {GRANT.format(actor=spec.name)}"
    )
