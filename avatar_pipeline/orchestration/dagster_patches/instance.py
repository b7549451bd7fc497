"""A Dagster instance that keeps no copies of what its runs print."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef

NO_CAPTURED_LOGS = {
    "module": "dagster._core.storage.noop_compute_log_manager",
    "class": "NoOpComputeLogManager",
}


def instance_without_captured_logs(home: Path) -> dg.DagsterInstance:
    """Return the instance of a home folder, without captured logs: those take four processes for
    each run.
    """
    return dg.DagsterInstance.from_ref(
        InstanceRef.from_dir(str(home), overrides={"compute_logs": NO_CAPTURED_LOGS})
    )
