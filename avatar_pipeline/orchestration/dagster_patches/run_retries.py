"""A run that Dagster's daemon is to retry is judged once its record says that it has failed.

The threat: the event of a failure is stored a moment before the run's own record. A daemon that
reads the event in between finds a run that seems to go on, leaves it alone, and never looks at that
event again: the run whose node was lost is not done elsewhere. (Seen in Dagster 1.13: the daemon's
cursor stood at the event, the record was written 70 ms after it; the daemon looks every 5 seconds.)
The mechanism: the daemon's choice among the runs of its new events is preceded by reading those
runs again until they are finished.
Its limits: it works in a daemon whose launcher applies it, as the launcher of the Ray cluster does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import dagster as dg
from dagster._daemon.auto_run_reexecution import auto_run_reexecution

SETTLE_TIMEOUT_S = 10.0  # the two writes are some 0.1 s apart
POLL_INTERVAL_S = 0.2

_choose = auto_run_reexecution.filter_runs_to_should_retry


def settled(run: dg.DagsterRun, instance: dg.DagsterInstance) -> dg.DagsterRun:
    """Return the run as it is stored now; wait until it is finished, SETTLE_TIMEOUT_S at most."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while not run.is_finished and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)
        run = instance.get_run_by_id(run.run_id) or run
    return run


def _choose_settled(
    runs: Sequence[dg.DagsterRun], instance: dg.DagsterInstance
) -> Iterator[dg.DagsterRun]:
    return _choose([settled(run, instance) for run in runs], instance)


def patch_run_retries() -> None:
    """Have the daemon of this process choose among settled runs."""
    auto_run_reexecution.filter_runs_to_should_retry = _choose_settled
