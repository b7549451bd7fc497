"""The pool of the steps that use the device, and how it gets back the slots of runs whose process
is gone.

The threat: a slot, and a place in the queue for one, is a row in the instance's database. A run
that is killed keeps its rows, and every later run waits for them.
The mechanism: a run is tagged with the process that executes it, by what starts it or when its
resources start, which is before it asks for a slot. Whenever resources start, and every quarter of
a minute while a run lives (it may be waiting), the rows of finished runs and of runs whose process
does not exist any more on this host are freed, and such runs are marked as failed.
Its limits: it judges runs of this host only, and no runs whose steps have processes of their own
elsewhere (Ray, Kubernetes): those are left to Dagster's daemon (run_monitoring in dagster.yaml).
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg
import psutil
from dagster import DagsterEventType

# One step at a time holds the device, over all runs of a host: dagster.yaml limits the pool,
# PipelineSession.turn locks what Dagster does not see.
GPU_POOL = "gpu"
PROCESS_TAG = "avatar_pipeline/process"
# seconds between two searches: what Dagster itself waits at most between two tries for a slot
DEAD_RUNS_CHECK_INTERVAL_S = 15.0
LIVING_STATUSES = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# seconds by which the time of a process' start may seem to move, when the clock is set
CLOCK_TOLERANCE_S = 60.0

logger = logging.getLogger(__name__)
_executes_runs = False


def executes_runs() -> None:
    """Say that this process executes runs, though another Python process started it: the service's
    worker.
    """
    global _executes_runs
    _executes_runs = True


def process_tag(run_id: str) -> dict[str, str]:
    """Return the tag of a run that this process executes: host, process id, and when that started,
    since ids are used again.

    The run's own id is part of it: Dagster copies tags to the run that is made when one is
    started again.
    """
    # a step of Dagster's multiprocess executor: the run is its parent's
    parent = multiprocessing.parent_process()
    pid = os.getpid() if parent is None or parent.pid is None or _executes_runs else parent.pid
    return {PROCESS_TAG: f"{run_id}:{platform.node()}:{pid}:{psutil.Process(pid).create_time()}"}


def tag_own_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Tag a run that this process executes, unless it was started for one step of it (`dagster api
    execute_step`: Ray, Kubernetes).
    """
    if "execute_step" in sys.argv or not instance.has_run(run.run_id):
        return
    tag = process_tag(run.run_id)
    if run.tags.get(PROCESS_TAG) != tag[PROCESS_TAG]:
        instance.add_run_tags(run.run_id, tag)


def free_slots_of_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs as failed whose process is gone, and free slots and places in the queue of all
    pools; returns the ids of those runs.
    """
    dead = [
        run for run in instance.get_runs(dg.RunsFilter(statuses=LIVING_STATUSES)) if is_dead(run)
    ]
    for run in dead:
        instance.report_run_failed(run, "The process that executed this run is gone.")
    storage = instance.event_log_storage
    if storage.supports_global_concurrency_limits:
        for pool in storage.get_concurrency_keys():
            info = storage.get_concurrency_info(pool)
            for run_id in {slot.run_id for slot in info.claimed_slots} | {
                step.run_id for step in info.pending_steps
            }:
                run_now = instance.get_run_by_id(run_id)
                if run_now is None or run_now.is_finished:
                    storage.free_concurrency_slots_for_run(run_id)
    return [run.run_id for run in dead]


@contextmanager
def slots_watched(instance: dg.DagsterInstance) -> Iterator[None]:
    """Free the slots of dead runs now, and again and again while the block runs: a run that waits
    for one may outlive its holder.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(DEAD_RUNS_CHECK_INTERVAL_S):
            try:
                free_slots_of_dead_runs(instance)
            except Exception as error:
                # a database that is busy or away for a moment; the run itself tells of lasting
                # faults
                logger.warning("the slots of dead runs could not be looked through: %s", error)

    free_slots_of_dead_runs(instance)
    thread = threading.Thread(target=watch, name="avatar_pipeline slots", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@dataclass(frozen=True)
class RunCounts:
    """Figures of an instance. runs: by state, in lower case. waiting: steps that wait for a slot,
    by pool. held: slots in use, by pool.
    """

    runs: dict[str, int]
    waiting: dict[str, int]
    held: dict[str, int]


def run_counts(instance: dg.DagsterInstance) -> RunCounts:
    """Count the runs of an instance by state, and the steps at its pools."""
    runs = {
        status.value.lower(): instance.get_runs_count(dg.RunsFilter(statuses=[status]))
        for status in dg.DagsterRunStatus
        if status != dg.DagsterRunStatus.MANAGED
    }
    waiting, held = {}, {}
    storage = instance.event_log_storage
    for pool in (
        sorted(storage.get_concurrency_keys()) if storage.supports_global_concurrency_limits else ()
    ):
        info = storage.get_concurrency_info(pool)
        holders = {(slot.run_id, slot.step_key) for slot in info.claimed_slots}
        held[pool] = len(holders)
        waiting[pool] = len({(step.run_id, step.step_key) for step in info.pending_steps} - holders)
    return RunCounts(runs, waiting, held)


def seconds_in_pool(context: dg.AssetExecutionContext) -> float:
    """Return seconds that the present attempt of a step waited for its pool's slot: from the first
    time that Dagster said so to its start.
    """
    step = context.get_step_execution_context().step
    if not step.pool:
        return 0.0
    blocked = waited = 0.0
    for entry in context.instance.all_logs(
        context.run.run_id, of_type={DagsterEventType.ENGINE_EVENT, DagsterEventType.STEP_START}
    ):
        event = entry.dagster_event
        if event is None or event.step_key != step.key:
            continue
        if event.event_type == DagsterEventType.STEP_START:
            blocked, waited = 0.0, entry.timestamp - blocked if blocked else 0.0
        elif not blocked and "blocked by limit for pool" in (event.message or ""):
            blocked = entry.timestamp
    return waited


def is_dead(run: dg.DagsterRun) -> bool:
    """Return whether the process that its tag names ran on this host and does not any more."""
    parts = run.tags.get(PROCESS_TAG, "").split(":")
    if len(parts) != 4 or parts[:2] != [run.run_id, platform.node()]:
        return False
    try:
        process = psutil.Process(int(parts[2]))
        return (
            abs(process.create_time() - float(parts[3])) > CLOCK_TOLERANCE_S
            or process.status() == psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return True
