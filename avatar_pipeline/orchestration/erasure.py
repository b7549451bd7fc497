"""Dagster's record of one person: its runs and backfills end, then runs, events and captured logs
are deleted (dagster_patches/record_deletion.py).
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill

from avatar_pipeline.actors.consent.receipt import Receipt
from avatar_pipeline.orchestration.dagster_patches.record_deletion import compact, delete_record
from avatar_pipeline.orchestration.inputs import ACTORS
from avatar_pipeline.orchestration.pools import PROCESS_TAG, free_slots_of_dead_runs
from avatar_pipeline.revocation.holders import DataHolder, Found, Log, Outcome, Subject

# Dagster's own; the second: where a launched run's process listens.
PARTITION_TAG, GRPC_TAG = "dagster/partition", ".dagster/grpc_info"
POLL_INTERVAL_S = 0.5
DEAD_RUNS_INTERVAL_S = 5.0  # between two searches for runs whose process is gone


class DagsterRecord(DataHolder):
    """What a Dagster instance holds of a person."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def find(self, subject: Subject) -> Found:
        """Return the runs, those that have been named already first."""
        runs = list(
            {
                run.run_id: run
                for name in subject.names
                for run in runs_of(self.instance, name, subject.digests)
            }.values()
        )
        under_way = sum(not run.is_finished for run in runs)
        backfills = {
            each.backfill_id for name in subject.names for each in backfills_of(self.instance, name)
        }
        return Found(
            runs=list(dict.fromkeys((*subject.runs, *(run.run_id for run in runs)))),
            counts={
                "runs in Dagster": f"{len(runs)}, of which {under_way} are under way",
                "backfills in progress": str(len(backfills)),
            },
        )

    def stop(self, subject: Subject, timeout_s: float, log: Log) -> Outcome:
        """Remove the actor's partition, and end its runs and backfills."""
        unregistered = unregister(self.instance, subject.actor)
        outcome = stop_runs(self.instance, subject.actor, log, timeout_s)
        for name in subject.former:
            unregistered = unregister(self.instance, name) or unregistered
            former = stop_runs(self.instance, name, log, timeout_s)
            outcome.runs_stopped += former.runs_stopped
            outcome.backfills_stopped += former.backfills_stopped
            outcome.not_deleted |= former.not_deleted
        outcome.unregistered = unregistered
        return outcome

    def delete(self, subject: Subject, found: Found, log: Log) -> Outcome:
        """Delete the runs, and all other events about the actor."""
        events = sum(delete_record(self.instance, name, found.runs) for name in subject.names)
        log(f"{len(found.runs)} runs and {events} further events of Dagster's are deleted")
        return Outcome(events_deleted=events, notes=compact(self.instance))

    def finish(self, receipt: Receipt) -> Outcome:
        """Remove the partition once more: a registration may have been under way."""
        return Outcome(unregistered=unregister(self.instance, receipt.actor))

    def portraits_of(self, actor: str) -> list[str]:
        """Return where the actor's runs have recorded that they put a drop-in portrait."""
        wanted = dg.AssetRecordsFilter(
            asset_key=dg.AssetKey("liveportrait_export"), asset_partitions=[actor]
        )
        places: list[str] = []
        cursor = None
        while True:
            page = self.instance.fetch_materializations(wanted, limit=100, cursor=cursor)
            for record in page.records:
                made = record.asset_materialization
                place = made.metadata.get("drop_in") if made else None
                if place is not None and str(place.value) not in places:
                    places.append(str(place.value))
            if not page.has_more:
                return places
            cursor = page.cursor


def runs_of(
    instance: dg.DagsterInstance, actor: str, digests: Collection[str] = ()
) -> list[dg.DagsterRun]:
    """Return all runs of an actor: those of its partition, and those of the HTTP service that drew
    it, or were given pictures of it.

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
    """Return the backfills in progress that have an actor among their partitions, others perhaps
    beside it.
    """
    under_way = BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING])
    return [
        backfill
        for backfill in instance.get_backfills(filters=under_way)
        if actor in _partitions(backfill)
    ]


def stop_runs(instance: dg.DagsterInstance, actor: str, log: Log, timeout_s: float) -> Outcome:
    """End the runs and backfills of an actor, and wait until they have ended, `timeout_s` seconds
    at most.

    What Dagster launched is terminated through it. A run within a process of its own, a batch or
    the service is not: it ends by itself at its next step, because its consent does not hold any
    more, and the others of its batch go on. Runs that have not ended in time are marked as
    cancelled.
    """
    outcome = Outcome()
    for backfill in backfills_of(instance, actor):
        instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELING))
        outcome.backfills_stopped.append(backfill.backfill_id)
        others = sorted(_partitions(backfill) - {actor})
        again = f"; start it again for {', '.join(others)}" if others else ""
        log(f"backfill {backfill.backfill_id} is ended{again}")
    end = time.monotonic() + timeout_s
    searched = 0.0
    while living := [run for run in runs_of(instance, actor) if not run.is_finished]:
        if time.monotonic() - searched > DEAD_RUNS_INTERVAL_S:
            free_slots_of_dead_runs(instance)  # of a process that is gone nothing ends by itself
            searched = time.monotonic()
            living = [run for run in living if not _is_finished(instance, run.run_id)]
        for run in living:
            if run.run_id not in outcome.runs_stopped:
                outcome.runs_stopped.append(run.run_id)
                log(f"run {run.run_id[:8]} ({run.job_name}, {run.status.value.lower()}) is ended")
                _terminate(instance, run, log)
        if time.monotonic() > end:
            for run in living:
                instance.report_run_canceled(
                    run, f"It had not ended {timeout_s:.0f} s after consent was revoked."
                )
                outcome.not_deleted[f"run {run.run_id}"] = (
                    f"it had not ended after {timeout_s:.0f} s and was marked as cancelled; what "
                    "it "
                    "still does is refused"
                )
            break
        time.sleep(POLL_INTERVAL_S)
    return outcome


def unregister(instance: dg.DagsterInstance, actor: str) -> bool:
    """Take the actor's partition away; whether there was one."""
    name = str(ACTORS.name)
    if actor not in instance.get_dynamic_partitions(name):
        return False
    instance.delete_dynamic_partition(name, actor)
    return True


def _partitions(backfill: PartitionBackfill) -> set[str]:
    """Return the partitions of a backfill: of a job, or of assets, each of which may have some of
    its own.
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
        and isinstance(instance.run_launcher, dg.DefaultRunLauncher)
    )
    if own_process:
        return
    try:
        instance.run_coordinator.cancel_run(run.run_id)
    except Exception as error:
        # of whatever launcher there is; the run ends by itself at its next step
        log(f"run {run.run_id[:8]} could not be reached ({error}); it is waited for")
