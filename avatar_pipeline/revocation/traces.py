"""What there is of an actor in files: in the store, among the exports, wherever pages were written.
Listed, and deleted.

In the actor's folder it is told by what this package makes there; a file of another name, a note
say, stays, and is named. So does a link: what it leads to is not followed, as it may be anybody's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from upath import UPath

from avatar_pipeline.actors.checkpoints import FOLDER as CHECKPOINTS
from avatar_pipeline.actors.consent.grant import records_and_evidence
from avatar_pipeline.actors.consent.receipt import Deleted, Kind
from avatar_pipeline.actors.files import files_below, files_in, local, read_whole, sync_folder
from avatar_pipeline.actors.published_copies import copies_of
from avatar_pipeline.actors.store import MANIFEST, ActorStore
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.scratch import abandoned, remove_abandoned
from avatar_pipeline.pipeline.exports import drop_in_path, exports_root
from avatar_pipeline.pipeline.registry import STAGES

LEFTOVER = re.compile(r"\..*\.tmp")  # files.TEMPORARY, as a pattern for one name
LOOK = "look at it, and delete it yourself if it shows or describes the person"
STRANGER = f"nothing here made it: {LOOK}"


@dataclass
class Traces:
    """files: by path, and of which kind. kept: files that stay on purpose. strangers: what must be
    looked at by people, and why.
    """

    files: dict[str, tuple[UPath, Kind]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    strangers: dict[str, str] = field(default_factory=dict)

    def add(self, path: UPath, kind: Kind) -> None:
        """A file that goes."""
        self.files[str(path)] = (path, kind)


def traces_of(store: ActorStore, name: str, *, photos: bool, more: Sequence[str] = ()) -> Traces:
    """Everything of an actor that a revocation deletes. photos: the original photographs too. more:
    further paths of drop-in portraits.
    """
    found = Traces()
    folder = store.actor_dir(name)
    records = records_and_evidence(folder) | {"actor.yaml", "README.md"}
    below = _files_below(folder)
    makers = _asset_folders(below)
    for place, path in below.items():
        first, *rest = PurePosixPath(place).parts
        if not rest and first in records:
            found.kept.append(str(path))
        elif any(LEFTOVER.fullmatch(part) for part in (first, *rest)):
            found.add(path, "leftover")
        elif first == "photos":
            found.add(path, "photograph") if photos else found.kept.append(str(path))
        elif first == CHECKPOINTS:
            found.add(path, "checkpoint")
        elif first == "versions" and rest:
            found.add(path, "version")
        elif rest and first in makers:
            found.add(path, "current")
        else:
            found.strangers[str(path)] = STRANGER
    for place, link in _links_below(folder).items():
        if place in records or (not photos and PurePosixPath(place).parts[0] == "photos"):
            found.kept.append(str(link))
        else:
            found.strangers[str(link)] = (
                f"it is a link to {link.readlink()}, which was not touched: {LOOK}; then delete "
                "the link"
            )
    for path in _exports(name, more):
        found.add(path, "export")
    for place, contents in copies_of(name).items():
        path = UPath(place)
        if place in found.files or not path.is_file():
            continue
        if contents and _describe(path, "page or sheet").sha256 not in contents:
            found.strangers[place] = (
                f"it has changed since a picture of {name} was written there: {LOOK}"
            )
        else:
            found.add(path, "page or sheet")
    for scratch in abandoned():
        for path in _files_below(UPath(scratch)).values():
            found.add(path, "temporary")
    return found


def described(traces: Traces) -> list[Deleted]:
    """The files, each with its sha256 and size as they are now."""
    return [_describe(path, kind) for path, kind in traces.files.values()]


def delete(
    store: ActorStore, name: str, traces: Traces, problem: Callable[[str, str], None]
) -> None:
    """Delete them, and the folders that are empty then. problem: is told what could not be deleted,
    and why.

    Manifests go first: a version is gone with its manifest, so that whoever reads in the middle
    finds no half of one.
    """
    ordered = sorted(traces.files.values(), key=lambda entry: entry[0].name != MANIFEST)
    for path, _ in ordered:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            problem(str(path), error.strerror or str(error))
    folder = local(store.actor_dir(name))
    if folder is not None:
        for below in sorted(
            (path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()),
            reverse=True,
        ):
            with suppress(OSError):  # not empty, or where a disk is mounted
                below.rmdir()
        sync_folder(UPath(folder))
    remove_abandoned()
    for path, _ in ordered:
        if path.exists():
            problem(str(path), "it is there again, or still")


def _files_below(folder: UPath) -> dict[str, UPath]:
    """As `files_below`, and never through a link: what a link leads to is not this actor's to
    delete.
    """
    disk = local(folder)
    if disk is None:
        return files_below(folder)
    found = {}
    for parent, _, names in os.walk(disk):
        for path in (Path(parent) / name for name in names):
            if not path.is_symlink():
                found[path.relative_to(disk).as_posix()] = UPath(path)
    return dict(sorted(found.items()))


def _links_below(folder: UPath) -> dict[str, Path]:
    """Symbolic links, to files and to folders, by relative name."""
    disk = local(folder)
    if disk is None:
        return {}
    paths = [
        Path(parent) / name
        for parent, folders, names in os.walk(disk)
        for name in (*folders, *names)
    ]
    return {path.relative_to(disk).as_posix(): path for path in sorted(paths) if path.is_symlink()}


def _asset_folders(places: Iterable[str]) -> set[str]:
    """The folders of current versions: those of the stages, and others that hold a manifest, of an
    asset that had another name once.
    """
    parts = [PurePosixPath(place).parts for place in places]
    return set(STAGES) | {path[0] for path in parts if len(path) == 2 and path[1] == MANIFEST}


def _exports(name: str, more: Sequence[str]) -> Iterator[UPath]:
    """The drop-in portraits: where they lie now, and where runs have said that they put one."""
    places = {str(drop_in_path(name)): drop_in_path(name)}
    places |= {place: UPath(place) for place in more if PurePosixPath(place).name == f"{name}.jpg"}
    for path in places.values():
        if path.is_file():
            yield path
    for path in files_in(exports_root()):
        if LEFTOVER.fullmatch(path.name) and path.name.startswith(f".{name}.jpg."):
            yield path


def _describe(path: UPath, kind: Kind) -> Deleted:
    try:
        data = read_whole(path)
    except OSError:
        return Deleted(path=str(path), kind=kind, sha256=None, bytes=None)
    return Deleted(path=str(path), kind=kind, sha256=sha256_bytes(data), bytes=len(data))
