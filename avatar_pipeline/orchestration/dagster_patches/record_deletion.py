"""Deletes runs and events in Dagster's storages, and has the bytes leave the database.

The threat: previews of pictures are in the event log, as base64 in the metadata of events, in four
places: the log of the run, the index of asset events, the last materialization of each asset, and
the pages of the database that deleted rows leave behind.
The mechanism: rows are deleted in all of them; SQLite's files of single runs are removed, the
others written again (VACUUM).
Its limits: PostgreSQL and MySQL keep the bytes of deleted rows until they clean up, and in their
own logs and backups: a note says so.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster._core.instance.utils import RUNLESS_RUN_ID
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

MAX_IDS_PER_STATEMENT = 500


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
        _update_asset_keys(connection, actor, set(ids))
    if isinstance(storage, SqliteEventLogStorage):  # elsewhere there is one table for all
        judged = [run.run_id for run in instance.get_runs(dg.RunsFilter(job_name="revalidate"))]
        for shard in (RUNLESS_RUN_ID, *judged):
            if Path(storage.path_for_shard(shard)).exists():
                with storage.run_connection(shard) as connection:
                    deleted += _delete_events(connection, actor, index=False)
    return deleted


def compact(instance: dg.DagsterInstance) -> list[str]:
    """Write SQLite's files again, so that they hold no bytes of deleted rows; returns what could
    not be done, in words.
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


def _about(actor: str, column: Any) -> Any:
    """Return where an event in its serialized form is about a partition."""
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


def _update_asset_keys(connection: Any, actor: str, run_ids: set[str]) -> None:
    """Each asset's last materialization is kept beside its events, metadata and all: the last one
    that is left takes its place.
    """
    keys, events = AssetKeyTable, SqlEventLogStorageTable
    rows = connection.execute(
        db.select(keys.c.id, keys.c.asset_key, keys.c.last_run_id, keys.c.last_materialization)
    ).fetchall()
    for row_id, asset_key, last_run, last in rows:
        values: dict[str, Any] = {
            "cached_status_data": None
        }  # Dagster makes it again when it is asked for
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
            entry = dg.deserialize_value(left[1], dg.EventLogEntry) if left else None
            values["last_materialization"] = (
                dg.serialize_value(dg.EventLogRecord(storage_id=left[0], event_log_entry=entry))
                if left and entry
                else None
            )
            values["last_run_id"] = entry.run_id if entry else None
        connection.execute(keys.update().values(**values).where(keys.c.id == row_id))


def _parts(ids: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(ids), MAX_IDS_PER_STATEMENT):
        yield ids[start : start + MAX_IDS_PER_STATEMENT]


def _remove_database(file: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _vacuum(file: Path) -> str:
    """Write a SQLite file again; why that could not be done, empty when it was."""
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
