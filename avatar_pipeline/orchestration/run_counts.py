"""How many runs there are in which state, and how many steps wait: figures of the instance."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg


@dataclass(frozen=True)
class Counts:
    """runs: by state, in lower case. waiting: steps that wait for a slot, by pool. held: slots in
    use, by pool.
    """

    runs: dict[str, int]
    waiting: dict[str, int]
    held: dict[str, int]


def run_counts(instance: dg.DagsterInstance) -> Counts:
    """What the instance says now."""
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
    return Counts(runs, waiting, held)
