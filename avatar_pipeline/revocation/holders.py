"""What a revocation asks of every place that holds data of a person, and what it gets back.

The store, what was published out of it, the service's jobs and Dagster's record each implement
`DataHolder` in a room of their own. The command composes the list (cli/consent.py); its order is
the order in which data is deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from upath import UPath

from avatar_pipeline.actors.consent.receipt import DeletedFile, Receipt
from avatar_pipeline.actors.files import read_whole
from avatar_pipeline.core.digests import sha256_bytes

Log = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """Whose data is asked for, and what is known by now.

    photos: the original photographs go, too. digests: sha256 of files and versions by which other
    things say what they were made from. runs, jobs: ids that the receipt names already, from other
    holders or from a revocation that was interrupted. former: what the actor was called before, as
    far as no other actor has that name now.
    """

    actor: str
    photos: bool = True
    digests: frozenset[str] = frozenset()
    runs: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    former: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The actor's name, and those that it had before."""
        return (self.actor, *self.former)


@dataclass
class Found:
    """What a holder has of a person.

    files: what goes, by path, and of which kind. kept: files that stay on purpose. unresolved: what
    people must look at, and why. runs, jobs: ids of Dagster's runs and of the service's jobs that
    go. counts: how much there is of anything else than files, in words, by its name.
    """

    files: dict[str, tuple[UPath, str]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    unresolved: dict[str, str] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    counts: dict[str, str] = field(default_factory=dict)

    def add(self, path: UPath, kind: str) -> None:
        """Add a file that goes."""
        self.files[str(path)] = (path, kind)

    def merge(self, other: Found) -> None:
        """Add all that another holder has found."""
        self.files |= other.files
        self.kept += other.kept
        self.unresolved |= other.unresolved
        self.runs += other.runs
        self.jobs += other.jobs
        self.counts |= other.counts

    def described(self) -> list[DeletedFile]:
        """Return the files, each with its sha256 and size as they are now."""
        return [describe(path, kind) for path, kind in self.files.values()]


@dataclass
class Outcome:
    """What a holder has done, in the terms of the receipt.

    not_deleted: what is left and why, by path or thing. events_deleted: how many. unregistered:
    whether the person's partition was removed.
    """

    runs_stopped: list[str] = field(default_factory=list)
    backfills_stopped: list[str] = field(default_factory=list)
    not_deleted: dict[str, str] = field(default_factory=dict)
    events_deleted: int = 0
    unregistered: bool = False
    notes: list[str] = field(default_factory=list)


class DataHolder(Protocol):
    """A place that holds data of people. Every method may be called again after a crash.

    A class that lists this one as its base needs `find` and `delete` only.
    """

    def find(self, subject: Subject) -> Found:
        """Return what there is of a person, and change nothing."""
        ...

    def stop(self, subject: Subject, timeout_s: float, log: Log) -> Outcome:
        """End what is under way, and wait until it has ended, `timeout_s` seconds at most.

        Called for all holders before anything is deleted, when consent is revoked already: what
        asks for it ends by itself.
        """
        return Outcome()

    def claim(self, subject: Subject, timeout_s: float, log: Log) -> AbstractContextManager[Found]:
        """Return what is to go, in a context that keeps its writers out while it is listed and
        deleted. What is still in use is waited for, `timeout_s` seconds at most.
        """
        return nullcontext(self.find(subject))

    def delete(self, subject: Subject, found: Found, log: Log) -> Outcome:
        """Delete what was claimed. It is in the stored receipt by now."""
        ...

    def finish(self, receipt: Receipt) -> Outcome:
        """Drop what was only kept to find the data, now that this is gone; `notes` says what stays
        out of reach.
        """
        return Outcome()


def describe(path: UPath, kind: str) -> DeletedFile:
    """Return a file's entry in the receipt: sha256 and size are None where it cannot be read."""
    try:
        data = read_whole(path)
    except OSError:
        return DeletedFile(path=str(path), kind=kind, sha256=None, bytes=None)
    return DeletedFile(path=str(path), kind=kind, sha256=sha256_bytes(data), bytes=len(data))
