"""The worker: a process beside the server, which holds the models. It does jobs one after the
other, or draws the pictures of several together; each is a Dagster run.

Orders come through a pipe: {"job", "run_id", "before", "task", "params", "consent", "sha256",
"people", "folder", "batched"} to do a job (before: ids of earlier runs of it, whose processes are
gone; consent: for its tags; sha256 and people: as of the job; batched: whether its picture may be
drawn in a batch), {"together": [such orders]} for those of one batch, {"cancel": job id}, and
{"stop": True}. It sends {"event": "ready"} once, and {"job", "event": "progress" | "drawn" | "done"
| "failed" | "cancelled", ...}; after "drawn" it takes further orders for batches.

An error of a job never ends it; an error of its own does, at once, and the server starts another
one. It dies with the server: the pipe closes.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatar_pipeline.service.jobs.progress_reporter import ProgressReporter
from avatar_pipeline.service.settings import Settings

if TYPE_CHECKING:
    from avatar_pipeline.tasks.draw_together import Place

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
    inbox: queue.Queue[Any] = queue.Queue()
    cancelled: set[str] = set()
    stopping = threading.Event()
    worker = _Worker(connection, settings, inbox, cancelled, stopping)
    thread = ending_all(worker.run, "avatar_pipeline jobs")
    try:
        while True:
            message = connection.recv()
            if "cancel" in message:
                cancelled.add(message["cancel"])
            elif "stop" in message:
                stopping.set()
                inbox.put(None)
                thread.join()
                return
            else:
                inbox.put(message)
    except (EOFError, OSError):
        os._exit(0)  # the server is gone; its next start does the job again


def ending_all(function: Callable[..., None], name: str, *arguments: Any) -> threading.Thread:
    """Start a thread whose error ends the process: the server sees it at once."""

    def run() -> None:
        try:
            function(*arguments)
        except BaseException:
            traceback.print_exc()
            os._exit(70)  # EX_SOFTWARE

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


class _Worker:
    """What the thread does that holds the models: it draws, and does what is done by itself. Jobs
    that may be drawn in one batch have threads of their own for everything else.

    inbox: orders of the server; pictures that are to be drawn; None to stop.
    """

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        inbox: queue.Queue[Any],
        cancelled: set[str],
        stopping: threading.Event,
    ) -> None:
        self.connection, self.settings, self.inbox = connection, settings, inbox
        self.cancelled, self.stopping = cancelled, stopping
        self._sending = threading.Lock()
        self._threads: list[threading.Thread] = []

    def run(self) -> None:
        """Work until the server says stop."""
        from avatar_pipeline.orchestration.definitions import defs
        from avatar_pipeline.orchestration.pools import executes_runs, slots_watched
        from avatar_pipeline.orchestration.resources import ToolsResource

        executes_runs()
        self.tools = ToolsResource(device=self.settings.device, analyzer=self.settings.analyzer)
        self.tools.open()
        self.job_definition = defs.resolve_job_def("service")
        with _instance() as self.instance, slots_watched(self.instance):
            self.send({"event": "ready"})
            while (message := self.inbox.get()) is not None:
                self._take(message)
            while any(thread.is_alive() for thread in self._threads):  # they end at their next step
                with suppress(queue.Empty):
                    self._take(self.inbox.get(timeout=0.05))

    def send(self, message: dict[str, Any]) -> None:
        """Tell the server something; from any thread."""
        with self._sending:
            self.connection.send(message)

    def _take(self, message: Any) -> None:
        from avatar_pipeline.tasks.draw_together import Batch, draw_all

        if isinstance(message, list):
            draw_all(message)
            return
        orders = message.get("together", [message])
        if not orders[0].get("batched"):
            self._do(orders[0])
            return
        batch = Batch(len(orders), self.inbox.put)
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        for order in orders:
            drawn = partial(self.send, {"job": order["job"], "event": "drawn"})
            more = (batch.place(drawn), len(orders))
            self._threads.append(ending_all(self._do, "avatar_pipeline job", order, *more))

    def _do(self, order: dict[str, Any], place: Place | None = None, together: int = 1) -> None:
        """Do one job, and tell the server how it ended."""
        job_id = order["job"]
        try:
            outcome = self._outcome(order, place, together)
        except Exception:
            traceback.print_exc()
            outcome = {"event": "failed", **_unforeseen(order["run_id"])}
        finally:
            if place is not None:
                place.leave()
        self.cancelled.discard(job_id)
        self.send({"job": job_id, **outcome})

    def _outcome(self, order: dict[str, Any], place: Place | None, together: int) -> dict[str, Any]:
        """Do one job; the message about its end. together: how many jobs are drawn in its batch."""
        from avatar_pipeline.actors.store import ActorStore
        from avatar_pipeline.orchestration.jobs.service import TaskOrder, run_task
        from avatar_pipeline.orchestration.tags import CONSENT_TAG, SERVICE_TAG
        from avatar_pipeline.pipeline.progress import LIVE_PREVIEW_INTERVAL_S
        from avatar_pipeline.tasks.likeness import real_people

        folder, before = Path(order["folder"]), order["before"]
        _end_runs(self.instance, before)
        shown = real_people(ActorStore(), [*order["people"], order["params"].get("actor")])
        cancelled = partial(self._is_cancelled, order["job"])
        watcher = ProgressReporter(self.send, order["job"], folder, cancelled, shown)
        context = replace(self.tools.open(), should_cancel=cancelled)
        if together == 1:  # a step's preview is of one picture, which may be another job's
            context = context.showing(
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
            place=place,
        )
        result = run_task(
            self.job_definition, self.instance, self.tools, task, context, watcher.progress
        )
        if result.success:
            return {"event": "done"}
        if result.dagster_run.status.value == "CANCELED":
            return {"event": "cancelled"}
        return {"event": "failed", **_reason(result, order["run_id"])}

    def _is_cancelled(self, job_id: str) -> bool:
        return job_id in self.cancelled or self.stopping.is_set()


def _instance() -> Any:
    """Return Dagster's instance, without copies of what each run prints: those take four processes
    for each job, and this prints nothing.
    """
    from avatar_pipeline.orchestration.dagster_patches.instance import (
        instance_without_captured_logs,
    )
    from avatar_pipeline.orchestration.dagster_patches.migration_scripts import (
        keep_migration_scripts,
    )
    from avatar_pipeline.orchestration.home import dagster_home

    keep_migration_scripts()
    return instance_without_captured_logs(dagster_home())


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
