"""What was written of a person outside of the store: drop-in portraits, pages and sheets, and the
temporary folders of processes that are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath

from upath import UPath

from avatar_pipeline.actors import published_copies
from avatar_pipeline.actors.consent.receipt import Receipt
from avatar_pipeline.actors.files import files_in
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.scratch import abandoned, remove_abandoned
from avatar_pipeline.pipeline.exports import drop_in_path, exports_root
from avatar_pipeline.revocation.files import (
    LEFTOVER,
    REVIEW,
    delete_files,
    real_files_below,
    still_there,
)
from avatar_pipeline.revocation.holders import DataHolder, Found, Log, Outcome, Subject, describe

PAGE = "page or sheet"


class PublishedFiles(DataHolder):
    """Files that left the store. recorded: returns where else an actor's drop-in portraits were
    put, as Dagster's record has it.
    """

    def __init__(
        self, store: ActorStore, recorded: Callable[[str], Sequence[str]] = lambda actor: ()
    ) -> None:
        self.store = store
        self.recorded = recorded

    def find(self, subject: Subject) -> Found:
        """Return the files that show the person; one that has changed since is left to people."""
        found = Found()
        for path in {path for name in subject.names for path in self._exports(name)}:
            found.add(path, "export")
        for place, contents in published_copies.copies_of(*subject.names).items():
            path = UPath(place)
            if place in found.files or not path.is_file():
                continue
            if contents and describe(path, PAGE).sha256 not in contents:
                found.unresolved[place] = (
                    f"it has changed since a picture of {subject.actor} was written there: {REVIEW}"
                )
            else:
                found.add(path, PAGE)
        for scratch in abandoned():
            for path in real_files_below(UPath(scratch)).values():
                found.add(path, "temporary")
        return found

    @contextmanager
    def claim(self, subject: Subject, timeout_s: float, log: Log) -> Iterator[Found]:
        """Hold the actor's lock: a restored version is published with it."""
        with self.store.writing(subject.actor):
            yield self.find(subject)

    def delete(self, subject: Subject, found: Found, log: Log) -> Outcome:
        """Delete the files, and the temporary folders."""
        paths = [path for path, _ in found.files.values()]
        problems = delete_files(paths)
        remove_abandoned()
        return Outcome(not_deleted=problems | still_there(paths))

    def finish(self, receipt: Receipt) -> Outcome:
        """Drop the list of what was written of the actor, but for what is still there."""
        for name in (receipt.actor, *receipt.former):
            published_copies.forget(name, but=receipt.not_deleted)
        pages = (entry for entry in receipt.deleted if entry.kind == PAGE)
        if any(PurePosixPath(entry.path).name == "index.html" for entry in pages):
            return Outcome(
                notes=[
                    "The index of the pages is deleted too, as it showed the portrait: "
                    "avatar-pipeline report writes it again."
                ]
            )
        return Outcome()

    def _exports(self, actor: str) -> Iterator[UPath]:
        """Yield the drop-in portraits: where they are now, and where runs have recorded that they
        put one.
        """
        places = {str(drop_in_path(actor)): drop_in_path(actor)}
        places |= {
            place: UPath(place)
            for place in self.recorded(actor)
            if PurePosixPath(place).name == f"{actor}.jpg"
        }
        for path in places.values():
            if path.is_file():
                yield path
        for path in files_in(exports_root()):
            if LEFTOVER.fullmatch(path.name) and path.name.startswith(f".{actor}.jpg."):
                yield path
