"""Take a consent back: nothing new begins, what is under way ends, everything made of the person
goes, and a receipt stays.

The threat: a face, an embedding or a LoRA that lives on after its person said no: in an old
version, a cache, a page, a database, or made anew by a run that was under way.
The mechanism, in this order: `revoked_at` is recorded, from when on every stage, checkpoint and
version is refused; the partition goes; runs are ended and waited for; with the actor's lock held,
every file is listed with its sha256 in the receipt, then deleted; the service's jobs and Dagster's
record follow; then everything is looked for once more. Killed in the middle, the next call goes on:
each step may be repeated.
Its limits: copies that left this machine and store, backups, snapshots of file systems and older
versions in a bucket are named, not reached.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import dagster as dg
from upath import UPath

from avatar_pipeline.actors import handed_out, published_copies
from avatar_pipeline.actors.consent.grant import keep_record, recording
from avatar_pipeline.actors.consent.receipt import Deleted, Receipt, receipts, write_receipt
from avatar_pipeline.actors.consent.record import FILE, may_be_revoked, revoked, standing
from avatar_pipeline.actors.editing import with_values
from avatar_pipeline.actors.files import local, read_whole, unwritable, write_atomic
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.clock import utc_now
from avatar_pipeline.core.errors import ActorError
from avatar_pipeline.core.login import login_name
from avatar_pipeline.orchestration.erasure import (
    backfills_of,
    compact,
    delete_record,
    portraits_told,
    runs_of,
    stop_runs,
    unregister,
)
from avatar_pipeline.revocation.traces import Traces, delete, described, traces_of
from avatar_pipeline.service.jobs import storage as service_jobs
from avatar_pipeline.service.jobs.erasure import jobs_of, unreadable_jobs, wait_for
from avatar_pipeline.service.jobs.job import Job

# Seconds that runs get to end: a step of FLUX on a small card takes half a minute, and a face
# analysis ends none.
PATIENCE = 300.0


@dataclass(frozen=True)
class Plan:
    """What a revocation would do now. under_way: ids of runs that have not ended; runs: all that
    would be deleted.
    """

    traces: Traces
    runs: list[str]
    under_way: list[str]
    backfills: list[str]
    jobs: list[Job]
    registered: bool


def plan(
    store: ActorStore, instance: dg.DagsterInstance, service: Path, name: str, *, photos: bool
) -> Plan:
    """Look, and change nothing. service: its folder. Raises ActorError for a synthetic actor."""
    spec = _require_real(store, name)
    traces = traces_of(store, spec.name, photos=photos, more=portraits_told(instance, spec.name))
    digests = _digests(described(traces))
    runs = runs_of(instance, spec.name, digests)
    return Plan(
        traces,
        [run.run_id for run in runs],
        [run.run_id for run in runs if not run.is_finished],
        [backfill.backfill_id for backfill in backfills_of(instance, spec.name)],
        jobs_of(service, spec.name, digests),
        spec.name in instance.get_dynamic_partitions("actors"),
    )


def revoke(
    store: ActorStore,
    instance: dg.DagsterInstance,
    service: Path,
    name: str,
    *,
    reason: str = "",
    photos: bool = True,
    log: Callable[[str], None] = lambda line: None,
    patience: float = PATIENCE,
) -> Receipt:
    """Revoke, or finish a revocation that was interrupted; the receipt, which is stored too.

    service: the folder of the HTTP service. photos: delete the original photographs too. patience:
    seconds for runs to end. Raises ActorError for an unknown or a synthetic actor, StoreError when
    the record or the receipt cannot be written.
    """
    spec = _require_real(store, name)
    with recording(store, spec.name):
        receipt = _begin(store, spec, reason, photos)
        write_receipt(store, receipt)
        log(f"consent is revoked as of {receipt.revoked_at}: nothing new begins")
        receipt.unregistered = unregister(instance, spec.name) or receipt.unregistered
        stopped = stop_runs(instance, spec.name, log, patience)
        _extend(receipt.runs_stopped, stopped.runs)
        _extend(receipt.backfills_stopped, stopped.backfills)
        for run_id in stopped.still:
            receipt.not_deleted[f"run {run_id}"] = (
                f"it had not ended after {patience:.0f} s and was marked as cancelled; what it "
                "still does is refused"
            )
        _delete_files(store, receipt, portraits_told(instance, spec.name), log)
        _delete_jobs(store, receipt, service, log, patience)
        _delete_runs(store, instance, receipt, log)
        # once more: in an object store no lock kept a last write out
        _delete_files(store, receipt, [], log)
        # a server had accepted it before consent was revoked
        if _delete_jobs(store, receipt, service, log, patience):
            _delete_runs(store, instance, receipt, log)
        published_copies.forget(spec.name, but=receipt.not_deleted)
        _extend(receipt.handed_out, sorted(handed_out.digests_of(spec.name)))
        write_receipt(store, receipt)
        handed_out.forget(spec.name)
        receipt.unregistered = unregister(instance, spec.name) or receipt.unregistered
        _finish(store, receipt)
    return receipt


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
    receipt.reason = reason or receipt.reason
    receipt.photographs = "deleted" if photos else receipt.photographs if earlier else "kept"
    if before.consent is not None:
        receipt.subject = before.consent.subject
    return receipt


def _revoked_at(folder: UPath) -> str | None:
    """When the record says that consent was revoked; None where it does not, or cannot be read."""
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


def _delete_files(
    store: ActorStore, receipt: Receipt, told: list[str], log: Callable[[str], None]
) -> None:
    """List in the receipt what goes, then delete it, with the actor's lock held."""
    name = receipt.actor
    with store.writing(name):
        traces = traces_of(store, name, photos=receipt.photographs == "deleted", more=told)
        gone = described(traces)
        receipt.add_deleted(gone)
        receipt.kept = traces.kept
        receipt.not_deleted |= traces.strangers
        write_receipt(store, receipt)
        delete(store, name, traces, lambda path, why: receipt.not_deleted.__setitem__(path, why))
    if gone:
        log(f"{len(gone)} files, {sum(entry.bytes or 0 for entry in gone)} bytes, are deleted")


def _delete_jobs(
    store: ActorStore, receipt: Receipt, service: Path, log: Callable[[str], None], patience: float
) -> bool:
    """Whether there were any."""
    found = jobs_of(service, receipt.actor, _digests(receipt.deleted))
    still = wait_for(service, found, log, patience)
    for job in found:
        if job.id in still:
            receipt.not_deleted[f"job {job.id}"] = "a server is still doing it: run it again"
            continue
        own = UPath(service / "jobs" / job.id)
        files = Traces()
        for path in sorted(Path(own.path).rglob("*")):
            if path.is_file():
                files.add(UPath(path), "service job")
        receipt.add_deleted(described(files))
        _extend(receipt.jobs_deleted, [job.id])
        _extend(receipt.runs_deleted, job.runs)
    for left in unreadable_jobs(service):
        receipt.not_deleted[str(left)] = (
            "no job that can be read: look at it, and delete it yourself if it shows the person"
        )
    write_receipt(store, receipt)
    for job_id in receipt.jobs_deleted:
        service_jobs.remove(service / "jobs", job_id)
        if (service / "jobs" / job_id).exists():
            receipt.not_deleted[f"job {job_id}"] = (
                f"{service / 'jobs' / job_id} could not be removed"
            )
    if found:
        log(f"{len(found)} jobs of the service are deleted")
    return bool(found)


def _delete_runs(
    store: ActorStore, instance: dg.DagsterInstance, receipt: Receipt, log: Callable[[str], None]
) -> None:
    _extend(
        receipt.runs_deleted,
        [run.run_id for run in runs_of(instance, receipt.actor, _digests(receipt.deleted))],
    )
    write_receipt(store, receipt)
    receipt.events_deleted += delete_record(instance, receipt.actor, receipt.runs_deleted)
    receipt.notes += compact(instance)
    log(
        f"{len(receipt.runs_deleted)} runs and {receipt.events_deleted} further events of "
        "Dagster's are deleted"
    )


def _finish(store: ActorStore, receipt: Receipt) -> None:
    if local(store.root) is None:
        receipt.notes.append(
            f"{store.root} is an object store: where its bucket keeps versions of objects (S3 "
            "versioning, soft delete), the deleted ones "
            "are still there. Delete those versions too, or let a lifecycle rule do it."
        )
    receipt.notes.append(
        "Not reached: backups, snapshots of file systems, other machines' home folders and pages, "
        "and whatever was handed out before."
    )
    if any(
        entry.kind == "page or sheet" and PurePosixPath(entry.path).name == "index.html"
        for entry in receipt.deleted
    ):
        receipt.notes.append(
            "The index of the pages is deleted too, as it showed the portrait: avatar-pipeline "
            "report writes it anew."
        )
    receipt.notes = list(dict.fromkeys(receipt.notes))
    receipt.finished = utc_now()
    write_receipt(store, receipt)


def _digests(gone: list[Deleted]) -> set[str]:
    """By what a job may name what it was made from: the sha256 of files, and the digests of
    versions, which are their folders' names.

    Of deleted jobs what they made counts, and not what they were given, which may show others.
    """
    found = {
        entry.sha256
        for entry in gone
        if entry.sha256
        and (
            entry.kind in ("version", "current", "export", "photograph")
            or (entry.kind == "service job" and PurePosixPath(entry.path).parent.name == "outputs")
        )
    }
    return found | {
        part
        for entry in gone
        if entry.kind == "version"
        for part in PurePosixPath(entry.path).parts
        if len(part) == 64
    }


def _extend(known: list[str], more: list[str]) -> None:
    known += [each for each in more if each not in known]
