"""The worker: a process beside the server, which holds the models and does one job after the other,
each as a Dagster run.

Orders come through a pipe: {"job", "run_id", "before", "task", "params", "consent", "sha256",
"people", "folder"} to do a job (before: ids of earlier runs of it, whose processes are gone;
consent: for its tags; sha256 and people: as of the job), {"cancel": job id}, and {"stop": True}. It
sends {"event": "ready"} once, and {"job", "event": "progress" | "done" | "failed" | "cancelled",
...}. An error of a job never ends it; an error of its own does, at once, and the server starts
another one. It dies with the server: the pipe closes.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from PIL import Image

from avatar_pipeline.core.errors import Cancelled
from avatar_pipeline.service.settings import Settings

PROGRESS_INTERVAL_S = 0.2  # seconds between two messages about progress
PREVIEW_INTERVAL_S = 1.0  # and two previews of a task that gives them by itself

# Dagster's own: the UI then shows a run as a re-execution of an earlier one.
PARENT_TAG, ROOT_TAG = "dagster/parent_run_id", "dagster/root_run_id"
# Dagster's daemon starts runs of dead processes again; the server does so itself
RETRIES_TAG = "dagster/max_retries"


def work(connection: Connection, settings: Settings) -> None:
    """Listen for orders, while a thread works: the worker's main function. Dagster takes signals
    over in main threads only.
    """
    # A terminal's Ctrl-C and a service manager's stop reach both processes: the server decides. Not
    # SIG_IGN, which children inherit: Dagster ends those that copy a run's output with SIGTERM, and
    # waits for a minute.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: None)
    logging.basicConfig(level=logging.WARNING, format="worker: %(message)s")
    orders: queue.Queue[dict[str, Any] | None] = queue.Queue()
    cancelled: set[str] = set()
    stopping = threading.Event()

    def run() -> None:
        try:
            _work(connection, settings, orders, cancelled, stopping)
        except BaseException:
            traceback.print_exc()
            os._exit(70)  # EX_SOFTWARE: the server sees it at once

    thread = threading.Thread(target=run, name="avatar_pipeline jobs", daemon=True)
    thread.start()
    try:
        while True:
            message = connection.recv()
            if "cancel" in message:
                cancelled.add(message["cancel"])
            elif "stop" in message:
                stopping.set()
                orders.put(None)
                thread.join()
                return
            else:
                orders.put(message)
    except (EOFError, OSError):
        os._exit(0)  # the server is gone; its next start does the job again


def _work(
    connection: Connection,
    settings: Settings,
    orders: queue.Queue[dict[str, Any] | None],
    cancelled: set[str],
    stopping: threading.Event,
) -> None:
    from avatar_pipeline.orchestration.definitions import defs
    from avatar_pipeline.orchestration.pools import executes_runs, slots_watched
    from avatar_pipeline.orchestration.resources import ToolsResource

    executes_runs()
    tools = ToolsResource(device=settings.device, analyzer=settings.analyzer)
    job_definition = defs.resolve_job_def("service")
    with _instance() as instance, slots_watched(instance):
        connection.send({"event": "ready"})
        while (order := orders.get()) is not None:
            job_id = order["job"]
            try:
                outcome = _do(
                    order,
                    job_definition,
                    instance,
                    tools,
                    connection,
                    partial(_is_cancelled, job_id, cancelled, stopping),
                )
            except Exception:
                traceback.print_exc()
                outcome = {"event": "failed", **_unforeseen(order["run_id"])}
            cancelled.discard(job_id)
            connection.send({"job": job_id, **outcome})


def _instance() -> Any:
    """Return Dagster's instance, without copies of what each run prints: those take four processes
    for each job, and this prints nothing.
    """
    from avatar_pipeline.orchestration.dagster_patches.instance import (
        instance_without_captured_logs,
    )
    from avatar_pipeline.orchestration.home import dagster_home

    return instance_without_captured_logs(dagster_home())


def _is_cancelled(job_id: str, cancelled: set[str], stopping: threading.Event) -> bool:
    return job_id in cancelled or stopping.is_set()


def _do(
    order: dict[str, Any],
    job_definition: Any,
    instance: Any,
    tools: Any,
    connection: Connection,
    cancelled: Callable[[], bool],
) -> dict[str, Any]:
    """Do one job and return the message about its end."""
    from avatar_pipeline.actors.store import ActorStore
    from avatar_pipeline.orchestration.jobs.service import TaskOrder, run_task
    from avatar_pipeline.orchestration.tags import CONSENT_TAG, SERVICE_TAG
    from avatar_pipeline.pipeline.progress import LIVE_PREVIEW_INTERVAL_S
    from avatar_pipeline.tasks.likeness import real_people

    folder, before = Path(order["folder"]), order["before"]
    _end_runs(instance, before)
    shown = real_people(ActorStore(), [*order["people"], order["params"].get("actor")])
    watcher = _ProgressReporter(connection, order["job"], folder, cancelled, shown)
    context = replace(tools.open(), should_cancel=cancelled).showing(
        lambda image, text: watcher.preview(image), LIVE_PREVIEW_INTERVAL_S
    )
    task = TaskOrder(
        run_id=order["run_id"],
        task=order["task"],
        params=order["params"],
        folder=folder,
        sha256=order["sha256"],
        people=order["people"],
        tags={
            SERVICE_TAG: order["job"],
            RETRIES_TAG: "0",
            **{f"{CONSENT_TAG}{name}": value for name, value in order["consent"].items()},
            **({PARENT_TAG: before[-1], ROOT_TAG: before[0]} if before else {}),
        },
    )
    result = run_task(job_definition, instance, tools, task, context, watcher.progress)
    if result.success:
        return {"event": "done"}
    if result.dagster_run.status.value == "CANCELED":
        return {"event": "cancelled"}
    return {"event": "failed", **_reason(result, order["run_id"])}


class _ProgressReporter:
    """Passes on how far a job is: numbers and words through the pipe, previews as a file in the
    job's folder. people: whom it shows.
    """

    def __init__(
        self,
        connection: Connection,
        job_id: str,
        folder: Path,
        cancelled: Callable[[], bool],
        people: Sequence[str],
    ) -> None:
        self.connection, self.job_id, self.folder, self.cancelled, self.people = (
            connection,
            job_id,
            folder,
            cancelled,
            people,
        )
        self.reported = self.shown = time.monotonic()
        self.previews = 0
        self.share, self.doing = 0.0, ""

    def progress(self, share: float, what: str, preview: Image.Image | None) -> None:
        """Report how far a task is. Raises Cancelled when the job's end was asked for:
        between two steps of any task.
        """
        if self.cancelled():
            raise Cancelled(f"cancelled while {what or 'at work'}. Nothing was stored.")
        self.share, self.doing = share, what
        if preview is not None and time.monotonic() - self.shown >= PREVIEW_INTERVAL_S:
            self.preview(preview)
        elif time.monotonic() - self.reported >= PROGRESS_INTERVAL_S:
            self._report()

    def preview(self, picture: Image.Image) -> None:
        """Show what is being drawn. A disk that does not take it costs the preview, not the job."""
        from upath import UPath

        from avatar_pipeline.actors.files import write_atomic
        from avatar_pipeline.actors.handed_out import note
        from avatar_pipeline.content_credentials.xmp import with_source_type
        from avatar_pipeline.core.digests import sha256_bytes
        from avatar_pipeline.core.errors import StoreError
        from avatar_pipeline.imaging.images import encode_jpeg
        from avatar_pipeline.service.jobs.job import PREVIEW

        try:
            shown = with_source_type(
                encode_jpeg(picture.convert("RGB")), "trainedAlgorithmicMedia"
            )  # gone in a second: not signed
            for name in self.people:
                note(name, [sha256_bytes(shown)])
            write_atomic(UPath(self.folder / PREVIEW), shown)
        except StoreError:
            return
        self.previews += 1
        self.shown = time.monotonic()
        self._report()

    def _report(self) -> None:
        self.reported = time.monotonic()
        self.connection.send(
            {
                "job": self.job_id,
                "event": "progress",
                "share": self.share,
                "doing": self.doing,
                "previews": self.previews,
            }
        )


def _end_runs(instance: Any, run_ids: list[str]) -> None:
    """Mark earlier runs of a job as failed: whatever executed them is gone, or this job would not
    be done again.
    """
    for run_id in run_ids:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_run_failed(
                run, "The process that executed this run is gone. The service does the job again."
            )


def _reason(result: Any, run_id: str) -> dict[str, Any]:
    """Return code, message, status and field of what failed; nothing of this machine's folders and
    code.
    """
    from avatar_pipeline.orchestration.failures import step_error, step_fault
    from avatar_pipeline.service.errors import STORAGE_FULL, status_of

    failed = [event for event in result.all_events if event.is_step_failure]
    fault = step_fault(failed[0]) if failed else None
    if fault is None:
        return _unforeseen(run_id)
    message = step_error(failed[0])
    if fault.code == "credentials_unusable":
        message = (
            "The service cannot sign its pictures, and hands out none unsigned: its operator "
            f"finds why in Dagster (run {run_id})."
        )
    if fault.code.startswith("storage_"):
        what = (
            "its disk is full"
            if fault.code == "storage_full"
            else "its operator finds why in Dagster"
        )
        message = f"The service could not store or read a file: {what} (run {run_id})."
    status = STORAGE_FULL if fault.code == "storage_full" else status_of(fault.kind)
    return {"code": fault.code, "message": message, "status": status, "field": fault.field}


def _unforeseen(run_id: str) -> dict[str, Any]:
    message = (
        "Something went wrong inside of the service. Its operator finds what in Dagster, run "
        f"{run_id}."
    )
    return {"code": "internal_error", "message": message, "status": 500, "field": None}
