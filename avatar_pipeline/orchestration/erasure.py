"""Make Dagster forget an actor: end its runs, delete them with their events and captured logs, and
have the bytes leave the database.

The threat: previews of pictures stand in the event log, as base64 in the metadata of events, in
four places: the log of the run, the index of asset events, the last materialization of each asset,
and the pages of the database that deleted rows leave behind.
The mechanism: rows are deleted in all of them; SQLite's files of single runs are removed, the
others written anew (VACUUM).
Its limits: PostgreSQL and MySQL keep the bytes of deleted rows until they clean up, and in their
own logs and backups: a note says so.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    AssetKeyTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorage,
)
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._serdes import deserialize_value, serialize_value

from avatar_pipeline.orchestration.partitions import ACTORS
from avatar_pipeline.orchestration.pools import PROCESS_TAG, free_slots_of_dead_runs

# Dagster's own; the second: where a launched run's process listens.
PARTITION_TAG, GRPC_TAG = "dagster/partition", ".dagster/grpc_info"
POLL = 0.5  # seconds between two looks whether runs have ended
MOST = 500  # ids in one statement

Log = Callable[[str], None]


@dataclass
class Stopped:
    """runs, backfills: ids of what was asked to end. still: runs that had not ended in time, and
    were marked as cancelled.
    """

    runs: list[str] = field(default_factory=list)
    backfills: list[str] = field(default_factory=list)
    still: list[str] = field(default_factory=list)


def runs_of(
    instance: dg.DagsterInstance, actor: str, digests: Collection[str] = ()
) -> list[dg.DagsterRun]:
    """All runs of an actor: those of its partition, and those of the HTTP service that drew it, or
    were given pictures of it.

    digests: the sha256 of its files, for pictures that were not known as its when they were given.
    """
    found = {
        run.run_id: run for run in instance.get_runs(dg.RunsFilter(tags={PARTITION_TAG: actor}))
    }
    for run in instance.get_runs(dg.RunsFilter(job_name="service")):
        config: Any = run.run_config
        given = config.get("ops", {}).get("answer", {}).get("config", {})
        params, sha256 = given.get("params"), given.get("sha256")
        names = [
            params.get("actor") if isinstance(params, dict) else None,
            *given.get("people", []),
        ]
        if actor in names or (
            isinstance(sha256, dict) and not set(sha256.values()).isdisjoint(digests)
        ):
            found[run.run_id] = run
    return list(found.values())


def backfills_of(instance: dg.DagsterInstance, actor: str) -> list[PartitionBackfill]:
    """The backfills in progress that have an actor among their partitions, others perhaps beside
    it.
    """
    under_way = BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING])
    return [
        backfill
        for backfill in instance.get_backfills(filters=under_way)
        if actor in _partitions(backfill)
    ]


def stop_runs(instance: dg.DagsterInstance, actor: str, log: Log, patience: float) -> Stopped:
    """End the runs and backfills of an actor, and wait until they have ended, `patience` seconds at
    most.

    What Dagster launched is terminated through it. A run within a process of its own, a batch or
    the service is not: it ends by itself at its next step, because its consent does not hold any
    more, and the others of its batch go on.
    """
    done = Stopped()
    for backfill in backfills_of(instance, actor):
        instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELING))
        done.backfills.append(backfill.backfill_id)
        others = sorted(_partitions(backfill) - {actor})
        again = f"; start it again for {', '.join(others)}" if others else ""
        log(f"backfill {backfill.backfill_id} is ended{again}")
    end = time.monotonic() + patience
    looked = 0.0
    while living := [run for run in runs_of(instance, actor) if not run.is_finished]:
        if time.monotonic() - looked > 10 * POLL:
            free_slots_of_dead_runs(instance)  # of a process that is gone nothing ends by itself
            looked = time.monotonic()
            living = [run for run in living if not _is_finished(instance, run.run_id)]
        for run in living:
            if run.run_id not in done.runs:
                done.runs.append(run.run_id)
                log(f"run {run.run_id[:8]} ({run.job_name}, {run.status.value.lower()}) is ended")
                _terminate(instance, run, log)
        if time.monotonic() > end:
            for run in living:
                instance.report_run_canceled(
                    run, f"It had not ended {patience:.0f} s after consent was revoked."
                )
                done.still.append(run.run_id)
            break
        time.sleep(POLL)
    return done


def portraits_told(instance: dg.DagsterInstance, actor: str) -> list[str]:
    """Where the actor's runs have said that they put a drop-in portrait."""
    wanted = dg.AssetRecordsFilter(
        asset_key=dg.AssetKey("liveportrait_export"), asset_partitions=[actor]
    )
    places: list[str] = []
    cursor = None
    while True:
        page = instance.fetch_materializations(wanted, limit=100, cursor=cursor)
        for record in page.records:
            made = record.asset_materialization
            told = made.metadata.get("drop_in") if made else None
            if told is not None and str(told.value) not in places:
                places.append(str(told.value))
        if not page.has_more:
            return places
        cursor = page.cursor


def unregister(instance: dg.DagsterInstance, actor: str) -> bool:
    """Take the actor's partition away; whether there was one."""
    name = str(ACTORS.name)
    if actor not in instance.get_dynamic_partitions(name):
        return False
    instance.delete_dynamic_partition(name, actor)
    return True


def delete_record(instance: dg.DagsterInstance, actor: str, run_ids: Iterable[str]) -> int:
    """Delete runs with everything of theirs, and all other events about the actor; how many of
    those there were. May be repeated.
    """
    ids = list(run_ids)
    storage = instance.event_log_storage
    for run_id in ids:
        # A run's own database, once removed, must not be opened again in this process: Dagster
        # would not make its tables a second time.
        if (
            instance.has_run(run_id)
            or not isinstance(storage, SqliteEventLogStorage)
            or Path(storage.path_for_shard(run_id)).exists()
        ):
            # first: a run without events is found again, events without a run are not
            storage.delete_events(run_id)
            instance.delete_run(run_id)
        with suppress(NotImplementedError):
            instance.compute_log_manager.delete_logs(prefix=[run_id])
        if isinstance(storage, SqliteEventLogStorage):
            _remove_database(Path(storage.path_for_shard(run_id)))
    if not isinstance(storage, SqlEventLogStorage):
        return 0
    deleted = 0
    with storage.index_connection() as connection:
        deleted += _delete_events(connection, actor, index=True)
        _delete_checks(connection, actor, ids)
        _mend_asset_keys(connection, actor, set(ids))
    if isinstance(storage, SqliteEventLogStorage):  # elsewhere there is one table for all
        judged = [run.run_id for run in instance.get_runs(dg.RunsFilter(job_name="revalidate"))]
        for shard in (RUNLESS_RUN_ID, *judged):
            if Path(storage.path_for_shard(shard)).exists():
                with storage.run_connection(shard) as connection:
                    deleted += _delete_events(connection, actor, index=False)
    return deleted


def compact(instance: dg.DagsterInstance) -> list[str]:
    """Write SQLite's files anew, so that they hold no bytes of deleted rows; returns what could not
    be done, in words.
    """
    events, runs = instance.event_log_storage, instance.run_storage
    files: list[Path] = []
    if isinstance(events, SqliteEventLogStorage):
        judged = [run.run_id for run in instance.get_runs(dg.RunsFilter(job_name="revalidate"))]
        files += [
            Path(events.path_for_shard(shard))
            for shard in (INDEX_SHARD_NAME, RUNLESS_RUN_ID, *judged)
        ]
    if isinstance(runs, SqliteRunStorage):
        files.append(Path(str(db.engine.make_url(runs._conn_string).database)))
    if not files and instance.is_persistent:
        return [
            f"Dagster's record is in {type(events).__name__}: its rows are deleted. The server "
            "keeps their bytes until it cleans up "
            "(PostgreSQL: VACUUM FULL event_logs, asset_keys, runs), and in its own logs and "
            "backups."
        ]
    notes = []
    for file in files:
        if file.exists() and (fault := _vacuum(file)):
            notes.append(
                f"{file}: {fault}. Its rows are deleted; bytes of them may be left until `VACUUM` "
                "succeeds: run it again."
            )
    return notes


def _partitions(backfill: PartitionBackfill) -> set[str]:
    """The partitions of a backfill: of a job, or of assets, each of which may have some of its
    own.
    """
    names = set(backfill.partition_names or ())
    if backfill.asset_backfill_data is not None:
        for (
            subset
        ) in backfill.asset_backfill_data.target_subset.partitions_subsets_by_asset_key.values():
            names.update(subset.get_partition_keys())
    return names


def _is_finished(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished


def _terminate(instance: dg.DagsterInstance, run: dg.DagsterRun, log: Log) -> None:
    if run.status == dg.DagsterRunStatus.NOT_STARTED:
        instance.report_run_canceled(run, "Consent was revoked.")
        return
    own_process = (
        PROCESS_TAG in run.tags
        and GRPC_TAG not in run.tags
        and isinstance(instance.run_launcher, DefaultRunLauncher)
    )
    if own_process:
        return
    try:
        instance.run_coordinator.cancel_run(run.run_id)
    except Exception as error:
        # of whatever launcher there is; the run ends by itself at its next step
        log(f"run {run.run_id[:8]} could not be reached ({error}); it is waited for")


def _about(actor: str, column: Any) -> Any:
    """Where an event in its serialized form is about a partition."""
    escaped = actor.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return column.like(f'%"partition": "{escaped}"%', escape="\\")


def _delete_events(connection: Any, actor: str, *, index: bool) -> int:
    table = SqlEventLogStorageTable
    checks = ("ASSET_CHECK_EVALUATION", "ASSET_CHECK_EVALUATION_PLANNED")
    about = db.or_(
        table.c.partition == actor,
        db.and_(table.c.dagster_event_type.in_(checks), _about(actor, table.c.event)),
    )
    ids = [row[0] for row in connection.execute(db.select(table.c.id).where(about))]
    for part in _parts(ids):
        connection.execute(table.delete().where(table.c.id.in_(part)))
        if index:
            connection.execute(
                AssetEventTagsTable.delete().where(AssetEventTagsTable.c.event_id.in_(part))
            )
    return len(ids)


def _delete_checks(connection: Any, actor: str, run_ids: list[str]) -> None:
    table = AssetCheckExecutionsTable
    connection.execute(
        table.delete().where(
            db.or_(table.c.partition == actor, _about(actor, table.c.evaluation_event))
        )
    )
    for part in _parts(run_ids):
        connection.execute(table.delete().where(table.c.run_id.in_(part)))


def _mend_asset_keys(connection: Any, actor: str, run_ids: set[str]) -> None:
    """Each asset's last materialization is kept beside its events, metadata and all: the last one
    that is left takes its place.
    """
    from dagster._core.event_api import EventLogRecord
    from dagster._core.events.log import EventLogEntry

    keys, events = AssetKeyTable, SqlEventLogStorageTable
    rows = connection.execute(
        db.select(keys.c.id, keys.c.asset_key, keys.c.last_run_id, keys.c.last_materialization)
    ).fetchall()
    for row_id, asset_key, last_run, last in rows:
        values: dict[str, Any] = {"cached_status_data": None}  # it is made anew when somebody looks
        if last_run in run_ids or f'"partition": "{actor}"' in (last or ""):
            left = connection.execute(
                db.select(events.c.id, events.c.event)
                .where(
                    events.c.asset_key == asset_key,
                    events.c.dagster_event_type == "ASSET_MATERIALIZATION",
                )
                .order_by(events.c.id.desc())
                .limit(1)
            ).fetchone()
            entry = deserialize_value(left[1], EventLogEntry) if left else None
            values["last_materialization"] = (
                serialize_value(EventLogRecord(storage_id=left[0], event_log_entry=entry))
                if left and entry
                else None
            )
            values["last_run_id"] = entry.run_id if entry else None
        connection.execute(keys.update().values(**values).where(keys.c.id == row_id))


def _parts(ids: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(ids), MOST):
        yield ids[start : start + MOST]


def _remove_database(file: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _vacuum(file: Path) -> str:
    """Write a SQLite file anew; why that could not be done, empty when it was."""
    try:
        connection = sqlite3.connect(file, timeout=30, isolation_level=None)
        try:
            connection.execute("VACUUM")
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return str(error)
    return "another process reads it all the time" if busy else ""
