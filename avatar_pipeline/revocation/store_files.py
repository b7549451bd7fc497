"""What the actor store holds of a person.

In the actor's folder data is recognized by what this package makes there; a file of another name, a
note say, stays, and is named. So does a link: what it leads to is not followed, as it may be
another actor's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath

from upath import UPath

from avatar_pipeline.actors.checkpoints import FOLDER as CHECKPOINTS
from avatar_pipeline.actors.consent.grant import records_and_evidence
from avatar_pipeline.actors.consent.receipt import Receipt
from avatar_pipeline.actors.files import local, sync_folder
from avatar_pipeline.actors.manifest import MANIFEST
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.revocation.files import (
    LEFTOVER,
    REVIEW,
    delete_files,
    links_below,
    real_files_below,
    still_there,
)
from avatar_pipeline.revocation.holders import DataHolder, Found, Log, Outcome, Subject

UNKNOWN_FILE = f"nothing here made it: {REVIEW}"


class StoreFiles(DataHolder):
    """The files of the actor's folder: photographs, versions, checkpoints, leftovers."""

    def __init__(self, store: ActorStore) -> None:
        self.store = store

    def find(self, subject: Subject) -> Found:
        """Return what goes and what stays of the actor's folder."""
        found = Found()
        folder = self.store.actor_dir(subject.actor)
        records = records_and_evidence(folder) | {"actor.yaml", "README.md"}
        below = real_files_below(folder)
        makers = _asset_folders(below)
        for place, path in below.items():
            first, *rest = PurePosixPath(place).parts
            if not rest and first in records:
                found.kept.append(str(path))
            elif any(LEFTOVER.fullmatch(part) for part in (first, *rest)):
                found.add(path, "leftover")
            elif first == "photos":
                if subject.photos:
                    found.add(path, "photograph")
                else:
                    found.kept.append(str(path))
            elif first == CHECKPOINTS:
                found.add(path, "checkpoint")
            elif first == "versions" and rest:
                found.add(path, "version")
            elif rest and first in makers:
                found.add(path, "current")
            else:
                found.unresolved[str(path)] = UNKNOWN_FILE
        for place, link in links_below(folder).items():
            if place in records or (
                not subject.photos and PurePosixPath(place).parts[0] == "photos"
            ):
                found.kept.append(str(link))
            else:
                found.unresolved[str(link)] = (
                    f"it is a link to {link.readlink()}, which was not touched: {REVIEW}; then "
                    "delete the link"
                )
        return found

    @contextmanager
    def claim(self, subject: Subject, timeout_s: float, log: Log) -> Iterator[Found]:
        """Hold the actor's lock, with which every version, checkpoint and photograph is written."""
        with self.store.writing(subject.actor):
            yield self.find(subject)

    def delete(self, subject: Subject, found: Found, log: Log) -> Outcome:
        """Delete the files, and the folders that are empty then."""
        paths = [path for path, _ in found.files.values()]
        problems = delete_files(paths)
        folder = local(self.store.actor_dir(subject.actor))
        if folder is not None:
            for below in sorted(
                (path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()),
                reverse=True,
            ):
                with suppress(OSError):  # not empty, or where a disk is mounted
                    below.rmdir()
            sync_folder(UPath(folder))
        return Outcome(not_deleted=problems | still_there(paths))

    def finish(self, receipt: Receipt) -> Outcome:
        """Say what an object store may keep of deleted objects."""
        if local(self.store.root) is not None:
            return Outcome()
        return Outcome(
            notes=[
                f"{self.store.root} is an object store: where its bucket keeps versions of objects "
                "(S3 versioning, soft delete), the deleted ones are still there. Delete those "
                "versions too, or let a lifecycle rule do it."
            ]
        )


def _asset_folders(places: Iterable[str]) -> set[str]:
    """Return the folders of current versions: those of the stages, and others that hold a manifest,
    of an asset that had another name once.
    """
    parts = [PurePosixPath(place).parts for place in places]
    return set(STAGES) | {path[0] for path in parts if len(path) == 2 and path[1] == MANIFEST}
