"""What has changed in the actor store since the last check, by names, sizes and times: no
file is opened.

A sweep asks the file system for the entries of two folders per actor, the actor's own and photos/,
and of data set folders in that.
An object store is asked for all its keys at once, which costs in proportion to all that it holds.

Which files count as still: those whose size, time and inode were the same at an earlier check
SETTLE_S seconds ago, and, on a disk, those whose inode was last touched (ctime) SETTLE_S seconds
ago. Size and
mtime alone would not do: `cp -p` and `rsync -t` give a copy the old time. A stalled copy may seem
still for minutes; `is_whole` finds those whose end is missing, by the formats' own end marks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from avatar_pipeline.actors.files import local, store_errors
from avatar_pipeline.actors.name import PATTERN
from avatar_pipeline.actors.photo_folder import CAPTIONS, KOHYA, in_photos
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.imaging.kinds import ENDINGS, OTHER_ENDINGS

# Seconds without a change after which a file counts as copied. A copy that is under way writes many
# times a second, also to a slow disk; the caches of network file systems (NFS: 3 to 60 s for
# attributes, mostly 3) may show it late.
SETTLE_S = 10.0
# Seconds after which a picture without an end is taken as it is: then no copy is under way, it is
# damaged, and the run will say so.
UNFINISHED_S = 600.0


@dataclass(frozen=True)
class ActorFingerprint:
    """One actor's folder at one moment. fingerprint: changes with any file that people provide.
    touched: the latest ctime, seconds since 1970.

    has_spec: whether there is an actor.yaml. pictures: the folder with photographs in it,
    "photos/", else "." for those that lie beside actor.yaml's place; empty without any.
    """

    fingerprint: str
    touched: float
    has_spec: bool
    pictures: str = ""


def scan_all(store: ActorStore) -> dict[str, ActorFingerprint]:
    """Return every actor's folder, by name. Raises StoreError when the root is missing."""
    root = local(store.root)
    if root is None:
        return _sweep_keys(store)
    try:
        folders = [
            entry for entry in os.scandir(root) if PATTERN.fullmatch(entry.name) and entry.is_dir()
        ]
    except OSError as error:
        if not root.exists():
            store.names()  # says what is missing
        raise StoreError(
            f"The folder of the actors, {root}, cannot be read: {error.strerror}. Is "
            "its disk mounted?"
        ) from None
    return {folder.name: _look(Path(folder.path)) for folder in folders}


def misnamed_folders(store: ActorStore) -> list[str]:
    """Return the folders beside the actors' that hold pictures and cannot be an actor's by their
    name ("Jane Doe"), sorted. None of an object store, where no folders are dropped.
    """
    root = local(store.root)
    if root is None:
        return []
    found = []
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.name.startswith(".") or PATTERN.fullmatch(entry.name):
                continue
            if entry.is_dir() and _look(Path(entry.path)).pictures:
                found.append(entry.name)
    return sorted(found)


def scan_actor(store: ActorStore, actor: str) -> ActorFingerprint:
    """Return one actor's folder; of an actor in an object store, too."""
    folder = local(store.actor_dir(actor))
    return _look(folder) if folder is not None else _sweep_keys(store, actor).get(actor, _seen([]))


def is_whole(data: bytes) -> bool:
    """Return whether a picture has its end: JPEG's EOI after the last scan, PNG's IEND, the length
    that WebP announces, the end of the last box of HEIC and AVIF. Others pass.
    """
    if data.startswith(b"\xff\xd8"):
        return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda") > 0
    if data.startswith(b"\x89PNG"):
        return b"IEND" in data[-4096:] or b"IEND" in data
    if data.startswith(b"RIFF"):
        return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    if data[4:8] == b"ftyp":
        return _boxes_end(data)
    return bool(data.strip(b"\0"))  # a file that was given its length first, and its content later


def _boxes_end(data: bytes) -> bool:
    """Return whether no box of an ISO container reaches beyond its end."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:  # 0: up to the end; others: zeros, not written yet
            return size == 0 and bool(data[at + 4 : at + 8].strip(b"\0"))
        at += size
    return at == len(data)


def _look(folder: Path) -> ActorFingerprint:
    entries = []
    waiting: list[tuple[str, ...]] = [(), ("photos",)]
    while waiting:
        parts = waiting.pop()
        try:
            found = list(os.scandir(folder.joinpath(*parts)))
        except OSError:
            continue
        for entry in found:
            name = (*parts, entry.name)
            if len(parts) < 2 and _is_data_set(name) and entry.is_dir():
                waiting.append(name)
            if _counts(name) and (parts or not entry.is_dir()):
                try:
                    state = entry.stat()
                except OSError:  # gone since, or a link that leads nowhere
                    continue
                entries.append(
                    (
                        "/".join(name),
                        *(state.st_size, state.st_mtime_ns, state.st_ino, state.st_ctime),
                    )
                )
    return _seen(entries)


def _is_data_set(parts: tuple[str, ...]) -> bool:
    return len(parts) == 2 and parts[0] == "photos" and bool(KOHYA.fullmatch(parts[1]))


def _counts(parts: tuple[str, ...]) -> bool:
    """Return whether people provide a file, by its path in the actor's folder. Hidden ones are left
    out (rsync writes .NAME.XXXXXX first), and in photos/ what is not finished by its name: browsers
    and copiers add .part, .crdownload, .filepart or .tmp while they write.
    """
    if parts[0] == "photos" and len(parts) > 1:
        return in_photos(parts[1:])
    return len(parts) == 1 and not parts[0].startswith(".")


def _sweep_keys(store: ActorStore, actor: str | None = None) -> dict[str, ActorFingerprint]:
    folder = store.root / actor if actor else store.root
    with store_errors(folder):
        found = folder.fs.find(folder.path, detail=True)
    root = PurePosixPath(store.root.path)
    entries: dict[str, list[tuple[Any, ...]]] = {}
    for path, about in found.items():
        name, *rest = PurePosixPath(path).relative_to(root).parts
        if PATTERN.fullmatch(name) and rest and _counts(tuple(rest)):
            # An object is put whole or not at all: nothing is half-copied, and a new content has
            # another ETag.
            state = (
                about.get("ETag")
                or about.get("etag")
                or about.get("mtime")
                or about.get("LastModified")
                or about.get("created")
            )
            entries.setdefault(name, []).append(
                ("/".join(rest), about.get("size"), str(state), 0, 0.0)
            )
    return {name: _seen(states) for name, states in entries.items()}


def _seen(entries: Iterable[tuple[Any, ...]]) -> ActorFingerprint:
    found = sorted(_without_notes(list(entries)))
    text = "\n".join(f"{name} {size} {time} {inode}" for name, size, time, inode, _ in found)
    return ActorFingerprint(
        hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
        max((touched for *_, touched in found), default=0.0),
        any(name == "actor.yaml" for name, *_ in found),
        _pictures([name for name, *_ in found]),
    )


def _without_notes(entries: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the files without the texts in photos/ that are no photograph's caption."""
    paths = [PurePosixPath(name) for name, *_ in entries]
    others = {path.with_suffix("") for path in paths if path.suffix.lower() not in CAPTIONS}
    return [
        entry
        for entry, path in zip(entries, paths, strict=True)
        if path.parts[0] != "photos"
        or path.suffix.lower() not in CAPTIONS
        or path.with_suffix("") in others
    ]


def _pictures(names: Iterable[str]) -> str:
    pictures = [
        name for name in names if PurePosixPath(name).suffix.lower() in (*ENDINGS, *OTHER_ENDINGS)
    ]
    if any(name.startswith("photos/") for name in pictures):
        return "photos/"
    return "." if pictures else ""
