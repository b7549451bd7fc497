"""Take a consent back: nothing new begins, what is under way ends, everything made of the person
goes, and a receipt stays.

The threat: a face, an embedding or a LoRA that lives on after its person said no: in an old
version, a cache, a page, a database, or made again by a run that was under way.
The mechanism, in this order: `revoked_at` is recorded, from when on every stage, checkpoint and
version is refused; every holder of data (holders.py) ends what is under way; one after the other
lists its files with their sha256 in the stored receipt, then deletes them; then everything is
searched once more. Killed in the middle, the next call goes on: each step may be repeated.
Its limits: copies that left this machine and store, backups, snapshots of file systems and older
versions in a bucket are named, not reached.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from upath import UPath

from avatar_pipeline.actors import handed_out
from avatar_pipeline.actors.consent.grant import keep_record, recording
from avatar_pipeline.actors.consent.receipt import (
    DeletedFile,
    Receipt,
    identifying_digests,
    receipts,
    write_receipt,
)
from avatar_pipeline.actors.consent.record import FILE
from avatar_pipeline.actors.consent.revoked import may_be_revoked, revoked
from avatar_pipeline.actors.consent.standing import standing
from avatar_pipeline.actors.editing import with_values
from avatar_pipeline.actors.files import local, read_whole, unwritable, write_atomic
from avatar_pipeline.actors.former_names import former_names
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.clock import utc_now
from avatar_pipeline.core.errors import ActorError
from avatar_pipeline.core.login import login_name
from avatar_pipeline.revocation.holders import DataHolder, Found, Log, Outcome, Subject

# What a run gets to end: a step of FLUX on a small card takes half a minute, and a face analysis
# ends none.
STOP_TIMEOUT_S = 300.0


def plan(
    store: ActorStore, holders: Sequence[DataHolder], name: str, *, photos: bool = True
) -> Found:
    """Return what a revocation would delete now, and change nothing.

    photos: with the original photographs. Raises ActorError for an unknown or a synthetic actor.
    """
    spec = _require_real(store, name)
    subject = Subject(spec.name, photos, former=tuple(_former(store, spec.name)[0]))
    everything = Found()
    for holder in holders:
        found = holder.find(subject)
        everything.merge(found)
        digests = subject.digests | identifying_digests(found.described())
        subject = replace(subject, digests=digests)
    return everything


def revoke(
    store: ActorStore,
    holders: Sequence[DataHolder],
    name: str,
    *,
    reason: str = "",
    photos: bool = True,
    log: Log = lambda line: None,
    timeout_s: float = STOP_TIMEOUT_S,
) -> Receipt:
    """Revoke, or finish a revocation that was interrupted; return the receipt, which is stored too.

    holders: of the person's data, in the order in which it is deleted. photos: delete the original
    photographs too. timeout_s: seconds that each holder waits for what is under way to end. Raises
    ActorError for an unknown or a synthetic actor, StoreError when the record or the receipt cannot
    be written.
    """
    spec = _require_real(store, name)
    with recording(store, spec.name):
        receipt = _begin(store, spec, reason, photos)
        write_receipt(store, receipt)
        log(f"consent is revoked as of {receipt.revoked_at}: nothing new begins")
        for holder in holders:
            _record_outcome(receipt, holder.stop(_subject(receipt), timeout_s, log))
        erasure = _Erasure(store, holders, receipt, log, timeout_s)
        erasure.delete_all()
        # once more: in an object store no lock kept a last write out, and a server may have
        # accepted a job before consent was revoked
        erasure.delete_what_came_since()
        _finish(store, holders, receipt)
    return receipt


class _Erasure:
    """The deletion of one person's data, holder by holder, each file in the receipt before it
    goes.
    """

    def __init__(
        self,
        store: ActorStore,
        holders: Sequence[DataHolder],
        receipt: Receipt,
        log: Log,
        timeout_s: float,
    ) -> None:
        self.store, self.holders, self.receipt = store, holders, receipt
        self.log, self.timeout_s = log, timeout_s

    def delete_all(self) -> None:
        """Have every holder delete what it has, and what an interrupted revocation had begun."""
        self._sweep(lambda found, is_news: True)

    def delete_what_came_since(self) -> None:
        """Search again; where anything is found, that holder and those after it delete again."""
        came = False

        def has_come(found: Found, is_news: bool) -> bool:
            nonlocal came
            came = came or is_news or bool(found.files)
            return came

        self._sweep(has_come)

    def _sweep(self, wanted: Callable[[Found, bool], bool]) -> None:
        """Ask every holder. wanted: whether it deletes what was found; its second argument is
        whether the receipt did not name it yet.
        """
        self.receipt.kept = []
        for holder in self.holders:
            subject = _subject(self.receipt)
            with holder.claim(subject, self.timeout_s, self.log) as found:
                files = found.described()
                is_news = _list_found(self.receipt, found, files)
                write_receipt(self.store, self.receipt)
                if wanted(found, is_news):
                    _record_outcome(self.receipt, holder.delete(subject, found, self.log))
                    if files:
                        size = sum(entry.bytes or 0 for entry in files)
                        self.log(f"{len(files)} files, {size} bytes, are deleted")


def _subject(receipt: Receipt) -> Subject:
    return Subject(
        receipt.actor,
        receipt.photographs == "deleted",
        identifying_digests(receipt.deleted),
        tuple(receipt.runs_deleted),
        tuple(receipt.jobs_deleted),
        tuple(receipt.former),
    )


def _former(store: ActorStore, name: str) -> tuple[list[str], list[str]]:
    """Return what an actor was called before: the names that no other actor has now, and the
    others.
    """
    before = former_names(store.actor_dir(name)).former
    taken = {each for each in before if (store.actor_dir(each) / "actor.yaml").is_file()}
    return [each for each in before if each not in taken], sorted(taken)


def _list_found(receipt: Receipt, found: Found, files: list[DeletedFile]) -> bool:
    """Put what is about to go into the receipt; whether any of it was not there."""
    before = (len(receipt.deleted), len(receipt.runs_deleted), len(receipt.jobs_deleted))
    receipt.add_deleted(files)
    _extend(receipt.runs_deleted, found.runs)
    _extend(receipt.jobs_deleted, found.jobs)
    _extend(receipt.kept, found.kept)
    receipt.not_deleted |= found.unresolved
    return before != (len(receipt.deleted), len(receipt.runs_deleted), len(receipt.jobs_deleted))


def _record_outcome(receipt: Receipt, outcome: Outcome) -> None:
    _extend(receipt.runs_stopped, outcome.runs_stopped)
    _extend(receipt.backfills_stopped, outcome.backfills_stopped)
    receipt.not_deleted |= outcome.not_deleted
    receipt.events_deleted += outcome.events_deleted
    receipt.unregistered = outcome.unregistered or receipt.unregistered
    receipt.notes += outcome.notes


def _require_real(store: ActorStore, name: str) -> ActorSpec:
    spec = store.spec(name)
    folder = store.actor_dir(spec.name)
    if (disk := local(folder)) is not None and disk.is_symlink():
        raise ActorError(
            f"{folder} is a link to {disk.readlink()}, which may be another actor's. Nothing was "
            "changed. Revoke that one, or put a real "
            "folder in the link's place."
        )
    if spec.likeness == "synthetic" and not may_be_revoked(folder):
        raise ActorError(
            f"{spec.name} is nobody (likeness: synthetic in actor.yaml): there is no consent to "
            "take back. To free space: avatar-pipeline "
            f"prune {spec.name}. To be rid of the actor: delete {folder}, then: avatar-pipeline "
            "register"
        )
    return spec


def _begin(store: ActorStore, spec: ActorSpec, reason: str, photos: bool) -> Receipt:
    """Record the revocation, unless it is recorded; the receipt to go on with, or a new one."""
    folder = store.actor_dir(spec.name)
    before = standing(spec, folder)
    when = _revoked_at(folder) or _record(folder)
    earlier = [receipt for receipt in receipts(store, spec.name) if receipt.revoked_at == when]
    receipt = (
        earlier[-1]
        if earlier
        else Receipt(
            actor=spec.name,
            revoked_at=when,
            begun=utc_now(),
            by=f"{login_name()} on {platform.node()}",
        )
    )
    receipt.finished, receipt.not_deleted, receipt.notes = None, {}, []
    free, taken = _former(store, spec.name)
    _extend(receipt.former, free)
    for name in taken:
        receipt.not_deleted[f"the former name {name}"] = (
            f"{spec.name} was called {name} before, and another actor has that name now: Dagster's "
            "record, portraits and jobs under it may show either. Look at them by hand."
        )
    receipt.reason = reason or receipt.reason
    receipt.photographs = "deleted" if photos else receipt.photographs if earlier else "kept"
    if before.consent is not None:
        receipt.subject = before.consent.subject
    return receipt


def _revoked_at(folder: UPath) -> str | None:
    """Return when the record says that consent was revoked; None where it does not, or cannot be
    read.
    """
    try:
        return revoked(folder)
    except ActorError:
        return None


def _record(folder: UPath) -> str:
    """Write `revoked_at` into the record, and leave the rest as people wrote it; a record that
    cannot be read is kept aside.
    """
    now = datetime.now(UTC)  # whole, as it tells revocations apart
    path = folder / FILE
    try:
        data = read_whole(path)
    except FileNotFoundError:
        data = b""
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        text = with_values(data.decode(), {"revoked_at": now}, name=str(path))
    except Exception:
        # it is no YAML, or no mapping: whatever it is, it must not keep a revocation from being
        # recorded
        keep_record(folder)
        text = f"revoked_at: {now.isoformat()}\n"
    write_atomic(path, text.encode())
    return revoked(folder) or str(now)


def _finish(store: ActorStore, holders: Sequence[DataHolder], receipt: Receipt) -> None:
    """Have the holders drop their lists of the person's data, and close the receipt."""
    names = (receipt.actor, *receipt.former)
    for name in names:
        _extend(receipt.handed_out, sorted(handed_out.digests_of(name)))
    write_receipt(store, receipt)
    for name in names:
        handed_out.forget(name)
    for holder in holders:
        _record_outcome(receipt, holder.finish(receipt))
    receipt.notes.append(
        "Not reached: backups, snapshots of file systems, other machines' home folders and pages, "
        "and whatever was handed out before."
    )
    receipt.notes = list(dict.fromkeys(receipt.notes))
    receipt.finished = utc_now()
    write_receipt(store, receipt)


def _extend(known: list[str], more: list[str]) -> None:
    known += [each for each in more if each not in known]
