"""Where pictures of real people were written outside of the store: drop-in portraits, pages, sheets. So that they can be taken back.

One line of JSON for each, in a file of the home folder of the machine that wrote them. Whoever writes such a file notes it first, writes
it, then looks whether consent was revoked meanwhile (`refuse_if_revoked`): a revocation finds the file, or the writer removes it.
Its limits: what somebody copied on from there, and what other machines wrote, is not in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

from filelock import FileLock
from upath import UPath

from avatar_pipeline.actors.consent import refuse_revoked
from avatar_pipeline.actors.files import local, unwritable, write_atomic
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.errors import ActorError
from avatar_pipeline.home import home_folder
from avatar_pipeline.provenance.digests import sha256_bytes

FILE = "copies.jsonl"


def remember(spec: ActorSpec, path: UPath | Path, data: bytes | None = None) -> None:
    """Note that a picture of this person is about to lie at `path`. Nothing for synthetic actors. Raises StoreError for a full disk.

    data: what will lie there, where the next picture of somebody else may come to lie at the same place: only this content is then hers.
    """
    if spec.likeness == "synthetic":
        return
    entry = {"actor": spec.name, "path": _whole(UPath(path)), **({"sha256": sha256_bytes(data)} if data is not None else {})}
    file = home_folder() / FILE
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _writing():
            if entry not in _entries():
                descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    os.write(
                        descriptor, f"{json.dumps(entry)}\n".encode()
                    )  # one write: a crash leaves a line, or a part of the last one
                finally:
                    os.close(descriptor)
    except OSError as error:
        raise unwritable(file, error) from error


def refuse_if_revoked(actor_dir: UPath, path: UPath | Path) -> None:
    """Remove what was just written to `path`, and raise ActorError, when consent was revoked while it was made."""
    try:
        refuse_revoked(actor_dir, f"{path}")
    except ActorError:
        UPath(path).unlink(missing_ok=True)
        raise


def copies_of(actor: str) -> dict[str, set[str]]:
    """Where pictures of an actor were written, paths and URLs, those that are gone since among them; with the sha256 of what was written
    there. No sha256: whatever lies there shows the actor.
    """
    found: dict[str, set[str]] = {}
    for entry in _entries():
        if entry.get("actor") == actor and "path" in entry:
            found.setdefault(str(entry["path"]), set()).update({str(entry["sha256"])} if "sha256" in entry else ())
    return found


def forget(actor: str, but: Collection[str]) -> None:
    """Drop what was noted of an actor, `but` for these paths, which are still there. Raises StoreError for a full disk."""
    file = home_folder() / FILE
    if file.is_file():
        with _writing():
            left = [entry for entry in _entries() if entry.get("actor") != actor or entry.get("path") in but]
            write_atomic(UPath(file), "".join(json.dumps(entry) + "\n" for entry in left).encode())


def _writing() -> FileLock:
    """Between processes: who drops lines writes the file anew, and must not lose a line that comes in meanwhile."""
    return FileLock(home_folder() / f"{FILE}.lock")


def _entries() -> list[dict[str, str]]:
    found = []
    try:
        lines = (home_folder() / FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:  # cut off by a crash
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def _whole(path: UPath) -> str:
    disk = local(path)
    return str(path) if disk is None else str(disk.absolute())
