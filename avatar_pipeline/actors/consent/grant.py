"""Record a consent: consent.yaml written whole, the evidence beside it, the record before it
kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import yaml
from filelock import FileLock, Timeout
from upath import UPath

from avatar_pipeline.actors.consent.record import FILE, Consent, Scope
from avatar_pipeline.actors.consent.revoked import revoked
from avatar_pipeline.actors.consent.standing import Standing, standing
from avatar_pipeline.actors.files import files_in, read_whole, write_atomic
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import ActorError, StoreError

EVIDENCE_BYTES = 64 * 2**20  # a scan of some pages has a few MB
# earlier records, by the moment when they were replaced
RECORDS = re.compile(r"consent\.\d{8}T\d{6,12}Z\.yaml")

if TYPE_CHECKING:
    from avatar_pipeline.actors.store import ActorStore


@dataclass(frozen=True)
class ConsentRequest:
    """What a person agreed to. scope: some of the record's scopes. granted, expires: the first and
    the last day. evidence: the signed paper.
    """

    subject: str
    scope: Sequence[str]
    granted: date
    expires: date
    evidence: UPath


@dataclass(frozen=True)
class GrantResult:
    """What was recorded. kept: the file name of the record before it, "" when there was none.
    before: how that stood.
    """

    consent: Consent
    path: UPath
    kept: str
    before: Standing


def grant(
    store: ActorStore, name: str, request: ConsentRequest, *, replace: bool = False
) -> GrantResult:
    """Write an actor's consent.yaml. The evidence is copied into the actor's folder unless it is
    there.

    replace: put it in the place of a record that holds. One that does not hold any more is replaced
    without being asked; it is kept too. Raises ActorError for a synthetic actor, wrong dates or
    scopes, missing evidence, a record that holds, and a revoked one whose evidence comes again;
    nothing was changed then.
    """
    spec = store.spec(name)
    folder = store.actor_dir(spec.name)
    if spec.likeness == "synthetic":
        raise ActorError(
            f"{spec.name} is nobody (likeness: synthetic in actor.yaml): there is nobody who "
            "could consent, and nothing asks for it. "
            "If it is a real person after all, say so first: likeness: real in "
            f"{folder / 'actor.yaml'}"
        )
    _require_complete(request)
    data = _read_evidence(request.evidence)
    with recording(store, spec.name):
        before = standing(spec, folder)
        if before.state == "holds" and not replace:
            raise ActorError(
                f"{folder / FILE}: {before.words} Nothing was changed. To put a new "
                "record in its place: --replace"
            )
        if before.state == "revoked":
            _require_finished(store, spec.name, revoked(folder))
            _require_new_evidence(folder, sha256_bytes(data))
        file = _place(folder, request.evidence, data)
        consent = Consent.model_validate(
            {
                "subject": " ".join(request.subject.split()),
                "scope": [each for each in get_args(Scope) if each in request.scope],
                "granted": request.granted,
                "expires": request.expires,
                "evidence": {"file": file, "sha256": sha256_bytes(data)},
            }
        )
        write_atomic(folder / file, data)
        kept = keep_record(folder)
        write_atomic(folder / FILE, _text(consent).encode())
    return GrantResult(consent, folder / FILE, kept, before)


def _require_complete(request: ConsentRequest) -> None:
    """Raise ActorError for dates, scopes or a name that no record can have."""
    today = datetime.now(UTC).date()
    if request.expires < request.granted:
        raise ActorError(
            f"--expires {request.expires} lies before --granted {request.granted}. A consent ends "
            "after it begins."
        )
    if request.expires < today:
        raise ActorError(
            f"--expires {request.expires} is over, and today is {today}. Give the last day "
            "that the person agreed to."
        )
    if unknown := [word for word in request.scope if word not in get_args(Scope)]:
        raise ActorError(
            f"--scope {unknown[0]!r} is unknown. Give some of "
            f"{', '.join(get_args(Scope))}: docs/consent.md."
        )
    if not request.scope:
        raise ActorError(
            "--scope: give what the person agreed to, some of "
            f"{', '.join(get_args(Scope))}: docs/consent.md."
        )
    if not request.subject.strip():
        raise ActorError("--subject: give the name of the person who consented.")


@contextmanager
def recording(store: ActorStore, name: str) -> Iterator[None]:
    """Let one grant or revocation of an actor go on at a time. Raises StoreError when another one
    is at it. An object store has no such lock.
    """
    path = store.consent_lock(name)
    if path is None:
        yield
        return
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StoreError(
            f"Somebody else is changing the consent of {name} at this moment (it holds {path}). "
            "Try again."
        ) from None
    try:
        yield
    finally:
        lock.release()


def keep_record(folder: UPath) -> str:
    """Copy the present consent.yaml aside; returns the copy's name, "" when there is no record."""
    try:
        data = read_whole(folder / FILE)
    except FileNotFoundError:
        return ""
    name = f"consent.{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}.yaml"
    write_atomic(folder / name, data)
    return name


def records_and_evidence(folder: UPath) -> set[str]:
    """Return the names of an actor's records, present and earlier ones, and of the evidence that
    they name.
    """
    names = set()
    for file in files_in(folder):
        if file.name != FILE and not RECORDS.fullmatch(file.name):
            continue
        names.add(file.name)
        try:
            content: Any = yaml.safe_load(read_whole(file))
            names.add(str(content["evidence"]["file"]))
        except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError):
            # what cannot be read names nothing
            continue
    return names


def _read_evidence(evidence: UPath) -> bytes:
    try:
        size = evidence.stat().st_size if evidence.is_file() else -1
        data = read_whole(evidence) if 0 < size <= EVIDENCE_BYTES else b""
    except OSError as error:
        raise ActorError(f"--evidence {evidence} cannot be read: {error}.") from None
    if size < 0:
        raise ActorError(
            f"--evidence {evidence}: there is no such file. Give the signed consent, "
            "scanned or photographed."
        )
    if not data:
        raise ActorError(
            f"--evidence {evidence} has {size} bytes; it may have 1 to "
            f"{EVIDENCE_BYTES}. Give the signed consent."
        )
    return data


def _require_new_evidence(folder: UPath, sha256: str) -> None:
    """Raise ActorError where a consent that was taken back is to be given again by the paper that
    was signed before."""
    for file in files_in(folder):
        if (file.name == FILE or RECORDS.fullmatch(file.name)) and sha256.encode() in read_whole(
            file
        ):
            raise ActorError(
                f"--evidence: it is the paper of the consent that was revoked ({file}). A person "
                "who took consent back has to sign again."
            )


def _require_finished(store: ActorStore, name: str, when: str | None) -> None:
    """when: revoked_at of the record; it may have been written by hand, or right before the command
    was killed.
    """
    from avatar_pipeline.actors.consent.receipt import receipts

    if not any(
        receipt.finished and receipt.revoked_at == when for receipt in receipts(store, name)
    ):
        raise ActorError(
            f"The revocation of {name} was interrupted, or never carried out: finish it first, so "
            "that nothing of before is left: "
            f"avatar-pipeline consent revoke {name}"
        )


def _place(folder: UPath, evidence: UPath, data: bytes) -> str:
    """Return the evidence's name in the actor's folder: its own; with the beginning of its sha256
    where another file has that name.
    """
    path = Path(evidence.name)
    stem = re.sub(r"[^A-Za-z0-9 ._-]+", "_", path.stem).lstrip(" ._-") or "consent"
    suffix = re.sub(r"[^A-Za-z0-9.]+", "", path.suffix)
    if (
        not suffix
        or f"{stem}{suffix}".lower() in ("actor.yaml", "readme.md", FILE)
        or RECORDS.fullmatch(f"{stem}{suffix}")
    ):
        stem, suffix = "consent", suffix if suffix not in ("", ".yaml") else ".evidence"
    for name in (f"{stem}{suffix}", f"{stem}-{sha256_bytes(data)[:8]}{suffix}"):
        present = folder / name
        if not present.exists() or (present.is_file() and read_whole(present) == data):
            return name
    raise ActorError(
        f"{folder / name} lies in the way of the evidence. Rename the file that --evidence names."
    )


def _text(consent: Consent) -> str:
    lines = [
        ("subject", consent.subject, "who consented"),
        ("scope", list(consent.scope), "to what: docs/consent.md"),
        ("granted", consent.granted, "first day"),
        ("expires", consent.expires, "last day"),
    ]
    text = "".join(
        f"{f'{field}: {_scalar(value)}':<44} # {about}\n" for field, value, about in lines
    )
    text += (
        f"evidence:\n  file: {_scalar(consent.evidence.file)}\n  sha256: "
        f"{consent.evidence.sha256}\n"
    )
    return text


def _scalar(value: Any) -> str:
    return str(
        yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=float("inf"))
    ).strip()[1:-1]
