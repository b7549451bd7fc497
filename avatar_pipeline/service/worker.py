"""The worker: a process beside the server, which holds the models and does one job after the other, each as a Dagster run.

It is told {"job", "run_id", "task", "params", "folder"} or {"cancel": job id} through a pipe, and tells {"job", "event": "progress" |
"done" | "failed" | "cancelled", ...}. It dies with the server: the pipe closes.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from avatar_pipeline.service.settings import Settings

PROGRESS_EVERY = 0.2  # seconds between two messages about progress


def work(connection: Connection, settings: Settings) -> None:
    """The worker's main function."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches both: the server decides
    from dagster import DagsterInstance

    from avatar_pipeline.definitions import SERVICE_TAG, ToolsResource, defs, run_task, slots_watched

    orders: queue.Queue[dict[str, Any] | None] = queue.Queue()
    cancelled: set[str] = set()

    def listen() -> None:
        try:
            while True:
                message = connection.recv()
                cancelled.add(message["cancel"]) if "cancel" in message else orders.put(message)
        except EOFError:
            os._exit(0)  # the server is gone; its next start does the job again

    threading.Thread(target=listen, daemon=True).start()
    tools = ToolsResource(device=settings.device, analyzer=settings.analyzer)
    job_definition = defs.resolve_job_def("service")
    with DagsterInstance.get() as instance, slots_watched(instance):
        while True:
            order = orders.get()
            if order is None:
                return
            job_id, last = order["job"], 0.0

            def progress(share: float, what: str, preview: Any, job_id: str = job_id) -> None:
                nonlocal last
                if time.monotonic() - last >= PROGRESS_EVERY:
                    last = time.monotonic()
                    connection.send({"job": job_id, "event": "progress", "share": share, "doing": what})

            used = tools.open()
            used.cancelled = partial(cancelled.__contains__, job_id)
            result = run_task(
                job_definition,
                instance,
                tools,
                run_id=order["run_id"],
                task=order["task"],
                params=order["params"],
                folder=Path(order["folder"]),
                tags={SERVICE_TAG: job_id},
                progress=progress,
            )
            if result.success:
                connection.send({"job": job_id, "event": "done"})
            elif job_id in cancelled:
                connection.send({"job": job_id, "event": "cancelled"})
            else:
                connection.send({"job": job_id, "event": "failed", **_reason(result)})


def _reason(result: Any) -> dict[str, str | None]:
    """Code, message and field of what failed."""
    from avatar_pipeline.definitions import step_error, step_fault

    failed = [event for event in result.all_events if event.is_step_failure]
    if not failed:
        return {"code": "generation_failed", "message": "the run failed; see its log in Dagster's UI", "field": None}
    code, field = step_fault(failed[0])
    return {"code": code or "generation_failed", "message": step_error(failed[0]), "field": field}
