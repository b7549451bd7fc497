"""A Dagster instance for a process that executes several runs at a time. It keeps no copies of what
they print.

The threat: with every run Dagster configures Python's logging from dagster.yaml (dictConfig), which
shuts down all handlers of the process under logging's own lock. A run in another thread that is
just writing to its handler, and asks for that lock, waits for ever, and so does the first.
The mechanism: the instance is asked for the handlers of dagster.yaml once, and gives these to all
runs.
"""

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
    each run. Its runs may be executed by several threads.
    """
    instance = dg.DagsterInstance.from_ref(
        InstanceRef.from_dir(str(home), overrides={"compute_logs": NO_CAPTURED_LOGS})
    )
    handlers = list(instance.get_yaml_python_handlers())
    instance.get_yaml_python_handlers = lambda: handlers  # type: ignore[method-assign]
    return instance
