"""Where pictures of real people were written outside of the store: drop-in portraits, pages,
sheets. So that they can be taken back.

Before such a file is written it is noted here, and after it `refuse_if_revoked` checks whether
consent was revoked meanwhile: a revocation finds the file, or its writer removes it.
Its limits: what people copied on from there, and what other machines wrote, is not in it.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from upath import UPath

from avatar_pipeline.actors.consent.revoked import refuse_revoked
from avatar_pipeline.actors.files import local
from avatar_pipeline.actors.ledger import Ledger
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import ActorError

_LEDGER = Ledger("copies.jsonl")


def remember(spec: ActorSpec, path: UPath | Path, data: bytes | None = None) -> None:
    """Note that a picture of this person is about to be written to `path`. Nothing for synthetic
    actors. Raises StoreError for a full disk.

    data: its content, where the next picture of another person may be written to the same place:
    only this content is then this person's.
    """
    if spec.likeness == "synthetic":
        return
    content = {"sha256": sha256_bytes(data)} if data is not None else {}
    entry = {"actor": str(spec.name), "path": _whole(UPath(path)), **content}
    if entry not in _LEDGER.entries():
        _LEDGER.add([entry])


def refuse_if_revoked(actor_dir: UPath, path: UPath | Path) -> None:
    """Remove what was just written to `path`, and raise ActorError, when consent was revoked while
    it was made.
    """
    try:
        refuse_revoked(actor_dir, f"{path}")
    except ActorError:
        UPath(path).unlink(missing_ok=True)
        raise


def copies_of(*actors: str) -> dict[str, set[str]]:
    """Return where pictures of an actor, by all its names, were written: paths and URLs, those that
    are gone since among them; with the sha256 of what was written there. No sha256: whatever is
    there shows the actor.
    """
    found: dict[str, set[str]] = {}
    for entry in _LEDGER.entries():
        if entry.get("actor") in actors and "path" in entry:
            found.setdefault(str(entry["path"]), set()).update(
                {str(entry["sha256"])} if "sha256" in entry else ()
            )
    return found


def forget(actor: str, but: Collection[str]) -> None:
    """Drop what was noted of an actor, `but` for these paths, which are still there. Raises
    StoreError for a full disk.
    """
    _LEDGER.drop(lambda entry: entry.get("actor") == actor and entry.get("path") not in but)


def _whole(path: UPath) -> str:
    disk = local(path)
    return str(path) if disk is None else str(disk.absolute())
