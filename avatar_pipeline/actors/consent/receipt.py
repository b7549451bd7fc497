"""The receipt of a revocation: what was deleted, with sha256 and size, what was stopped, and what
could not be done and why.

{root}/.revocations/{actor}.{moment}.json, beside the actors' folders: it outlives the folder. It is
written before anything is deleted and again after each step, so that a revocation that was killed
has said what it was about to do, and the next one goes on with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from upath import UPath

from avatar_pipeline.actors.files import read_whole, write_atomic
from avatar_pipeline.core.errors import StoreError

# Kinds of files whose content shows the person, so that other things made from it are found by it.
SHOWING = ("version", "current", "export", "photograph")
SERVICE_JOB = "service job"

if TYPE_CHECKING:
    from avatar_pipeline.actors.store import ActorStore


class DeletedFile(BaseModel):
    """One file. path: where it was. kind: photograph, version, current, checkpoint, leftover,
    export, page or sheet, service job, temporary, or what another holder of data calls it. sha256,
    bytes: of what it held, None where it could not be read.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    kind: str
    sha256: str | None
    bytes: int | None


class Receipt(BaseModel):
    """revoked_at, begun, finished: UTC, ISO 8601; finished is None while it is under way, or was
    interrupted.

    by: login name and host of who asked for it. runs_stopped, runs_deleted: ids of Dagster runs;
    backfills_stopped: of its backfills;
    jobs_deleted: of the service. events_deleted: rows of Dagster's event log outside of those runs.
    kept: what stays, on purpose.
    not_deleted: what is left and why, by path or thing. handed_out: sha256 of portraits and
    pictures that had left. notes: what those who answer for the data must know.
    """

    model_config = ConfigDict(extra="forbid")

    actor: str
    subject: str | None = None
    revoked_at: str
    begun: str
    finished: str | None = None
    by: str = ""
    reason: str = ""
    former: list[str] = []
    photographs: Literal["deleted", "kept"] = "deleted"
    deleted: list[DeletedFile] = []
    runs_stopped: list[str] = []
    runs_deleted: list[str] = []
    backfills_stopped: list[str] = []
    jobs_deleted: list[str] = []
    events_deleted: int = 0
    unregistered: bool = False
    kept: list[str] = []
    not_deleted: dict[str, str] = {}
    handed_out: list[str] = []
    notes: list[str] = []

    @property
    def bytes(self) -> int:
        """Of all deleted files."""
        return sum(entry.bytes or 0 for entry in self.deleted)

    def add_deleted(self, entries: list[DeletedFile]) -> None:
        """Add files that are about to go; each place and content once."""
        known = {(entry.path, entry.sha256) for entry in self.deleted}
        self.deleted += [entry for entry in entries if (entry.path, entry.sha256) not in known]


def identifying_digests(files: Iterable[DeletedFile]) -> frozenset[str]:
    """Return by what a job or a run may name what it was made from: the sha256 of files, and the
    digests of versions, which are their folders' names.

    Of the service's jobs what they made counts, and not what they were given, which may show
    others.
    """
    found = set()
    for entry in files:
        path = PurePosixPath(entry.path)
        shows = entry.kind in SHOWING or (
            entry.kind == SERVICE_JOB and path.parent.name == "outputs"
        )
        if shows and entry.sha256:
            found.add(entry.sha256)
        if entry.kind == "version":
            found.update(part for part in path.parts if len(part) == 64)
    return frozenset(found)


def receipt_path(store: ActorStore, receipt: Receipt) -> UPath:
    """Return where a receipt is stored."""
    return (
        store.receipts_folder()
        / f"{receipt.actor}.{re.sub(r'[^0-9TZ]', '', receipt.revoked_at) or '0'}.json"
    )


def write_receipt(store: ActorStore, receipt: Receipt) -> UPath:
    """Store it as it is now, whole; returns its path. Raises StoreError."""
    path = receipt_path(store, receipt)
    write_atomic(path, receipt.model_dump_json(indent=1).encode())
    return path


def receipts(store: ActorStore, name: str) -> list[Receipt]:
    """Return all receipts of an actor, the latest last. Raises StoreError for one that cannot be
    read.
    """
    found = []
    for actor, file in store.receipt_files():
        if actor != name:
            continue
        try:
            found.append(Receipt.model_validate_json(read_whole(file)))
        except (OSError, ValidationError) as error:
            raise StoreError(
                f"{file} cannot be read as a receipt: {error}. Move it away, and run it again."
            ) from None
    return sorted(found, key=lambda receipt: receipt.begun)
