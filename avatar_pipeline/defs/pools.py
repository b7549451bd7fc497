"""The pool of the steps that use the device, and how it gets back the slots of runs whose process is gone.

The threat: a slot is a row in the instance's database. A run that is killed keeps its row, and every later run waits for it.
The mechanism: a run started by this program carries a tag that says which process it is; before a run, the slots of finished runs
and of runs whose process does not exist any more on this host are freed, and such runs are marked as failed.
Its limits: runs launched by the UI are watched by Dagster's daemon instead (run_monitoring in dagster.yaml).
"""

from __future__ import annotations

import os
import platform

import dagster as dg
import psutil

# One step at a time holds the device, over all runs of a host: dagster.yaml limits the pool, GpuSession.turn locks what Dagster
# does not see.
GPU_POOL = "gpu"
PROCESS_TAG = "avatar_pipeline/process"


def process_tag() -> dict[str, str]:
    """The tag of a run that this process executes: host, process id, and when it started, since ids are used again."""
    return {PROCESS_TAG: f"{platform.node()}:{os.getpid()}:{psutil.Process().create_time()}"}


def free_slots_of_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Free them, in all pools; returns the ids of the runs that had died."""
    storage = instance.event_log_storage
    freed = []
    for pool in storage.get_concurrency_keys():
        for run_id in {slot.run_id for slot in storage.get_concurrency_info(pool).claimed_slots}:
            run = instance.get_run_by_id(run_id)
            if run is None or run.is_finished:
                storage.free_concurrency_slots_for_run(run_id)
            elif _is_dead(run.tags.get(PROCESS_TAG, "")):
                instance.report_run_failed(run, "The process that executed this run is gone.")
                storage.free_concurrency_slots_for_run(run_id)
                freed.append(run_id)
    return freed


def _is_dead(tag: str) -> bool:
    """Whether the process named by a tag ran on this host and does not any more."""
    parts = tag.rsplit(":", 2)
    if len(parts) != 3 or parts[0] != platform.node():
        return False
    try:
        return psutil.Process(int(parts[1])).create_time() != float(parts[2])
    except psutil.NoSuchProcess:
        return True
