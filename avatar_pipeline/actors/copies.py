"""Where pictures of real people were written outside of the store: drop-in portraits, pages, sheets. So that they can be taken back.

One line of JSON for each, in a file of the home folder of the machine that wrote them. Its limits: what somebody copied on from there, and
what other machines wrote, is not in it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from upath import UPath

from avatar_pipeline.actors.files import local, unwritable, write_atomic
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.home import home_folder

FILE = "copies.jsonl"


def remember(spec: ActorSpec, path: UPath | Path) -> None:
    """Note that a picture of this person is about to lie at `path`. Nothing for synthetic actors. Raises StoreError for a full disk."""
    if spec.likeness == "synthetic":
        return
    place = _whole(UPath(path))
    if place in copies_of(spec.name):
        return
    file = home_folder() / FILE
    line = json.dumps({"actor": spec.name, "path": place}) + "\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode())  # one write: lines of several processes do not mix
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unwritable(file, error) from error


def copies_of(actor: str) -> list[str]:
    """The paths and URLs where pictures of an actor were written, those that are gone since among them."""
    return list(dict.fromkeys(str(entry["path"]) for entry in _entries() if entry.get("actor") == actor))


def forget(actor: str) -> None:
    """Drop what was noted of an actor."""
    left = [entry for entry in _entries() if entry.get("actor") != actor]
    file = home_folder() / FILE
    if file.is_file():
        write_atomic(UPath(file), "".join(json.dumps(entry) + "\n" for entry in left).encode())


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
