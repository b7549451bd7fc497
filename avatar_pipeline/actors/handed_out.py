"""What left the store and shows a real person, by the sha256 of its bytes: recognised when it comes
back with a request.

Drop-in portraits and pictures of the service are signed, and a signature is never twice the same:
their bytes are in no manifest. Each is noted before it is written. The entries outlive the
service's jobs, and a revocation moves them into its receipt.
Its limits: the home folder of one machine; a picture that was saved again has other bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from avatar_pipeline.actors.ledger import Ledger

_LEDGER = Ledger("handed_out.jsonl")


def note(actor: str, digests: Iterable[str]) -> None:
    """Note that files with these sha256 show an actor. Raises StoreError for a full disk."""
    _LEDGER.add({"actor": actor, "sha256": digest} for digest in digests)


def digests_of(actor: str) -> set[str]:
    """Return the sha256 of what was handed out of an actor."""
    return {
        entry["sha256"]
        for entry in _LEDGER.entries()
        if entry.get("actor") == actor and "sha256" in entry
    }


def actors_by_digest() -> dict[str, set[str]]:
    """Return everything that was handed out: the actors that it shows, by sha256."""
    found: dict[str, set[str]] = {}
    for entry in _LEDGER.entries():
        if "actor" in entry and "sha256" in entry:
            found.setdefault(entry["sha256"], set()).add(entry["actor"])
    return found


def forget(actor: str) -> None:
    """Remove what was noted of an actor. Raises StoreError for a full disk."""
    _LEDGER.drop(lambda entry: entry.get("actor") == actor)


def ledger_file() -> Path:
    """Return the file, to tell whether it has changed."""
    return _LEDGER.path
