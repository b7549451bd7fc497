"""The server's side of the worker: starts it, talks to it, and notices its end at once, however
that comes.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import connection as pipes
from typing import Any

from avatar_pipeline.service.jobs.worker import work
from avatar_pipeline.service.settings import Settings

SHUTDOWN_TIMEOUT_S = (
    10.0  # seconds for a step of drawing, when the server stops; then the worker is killed
)
MAX_RESTART_DELAY_S = 30.0  # between two tries to start a worker that does not get ready

log = logging.getLogger(__name__)


class Supervisor:
    """One worker at a time. Its methods are called on the event loop, and it calls on the loop too.

    on_message: takes the worker's messages. on_exit: is called with the reason when the worker has
    ended without being asked to; the next one is on its way.
    """

    def __init__(
        self,
        settings: Settings,
        on_message: Callable[[dict[str, Any]], None],
        on_exit: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self.on_message = on_message
        self.on_exit = on_exit
        self.ready = False  # whether it takes orders
        self._failed_starts = 0
        self._stopping = False

    def start(self) -> None:
        """Start a worker. It says {"event": "ready"} when it takes orders."""
        if self._stopping:
            return
        self._loop = asyncio.get_running_loop()
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=work, args=(theirs, self.settings), name="avatar_pipeline worker", daemon=True
        )
        self._process.start()
        theirs.close()
        threading.Thread(
            target=self._listen, args=(self._process, self._connection), daemon=True
        ).start()

    @property
    def pid(self) -> int | None:
        """Return the id of the worker's process."""
        return self._process.pid

    def send(self, message: dict[str, Any]) -> None:
        """Send the worker an order; when it is dead, `on_exit` is called in any case."""
        with suppress(OSError):
            self._connection.send(message)

    def stop(self) -> None:
        """Let the worker end after its present step, or kill it when that takes too long.
        Blocks.
        """
        self._stopping = True
        self.send({"stop": True})
        self._process.join(SHUTDOWN_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()

    def _listen(self, process: Any, connection: Any) -> None:
        while True:
            found = pipes.wait([connection, process.sentinel])
            if connection not in found:  # the process is gone, and all that it said has been read
                break
            try:
                message = connection.recv()
            except (EOFError, OSError):
                break
            if not self._call_on_loop(self._on_message, message):
                return
        process.join(SHUTDOWN_TIMEOUT_S)
        if process.is_alive():  # it closed the pipe and lives on: of no use any more
            process.kill()
            process.join()
        self._call_on_loop(self._on_process_exit, process.exitcode)

    def _call_on_loop(self, function: Callable[..., None], *arguments: Any) -> bool:
        with suppress(RuntimeError):  # the loop is closed: the server has ended
            self._loop.call_soon_threadsafe(function, *arguments)
            return True
        return False

    def _on_message(self, message: dict[str, Any]) -> None:
        if message["event"] == "ready":
            self.ready, self._failed_starts = True, 0
        self.on_message(message)

    def _on_process_exit(self, code: int | None) -> None:
        if self._stopping:
            return
        self._failed_starts += not self.ready
        wait = min(2.0**self._failed_starts, MAX_RESTART_DELAY_S) if self._failed_starts else 0.0
        self.ready = False
        self._connection.close()
        reason = exit_reason(code)
        log.error(
            "The worker has ended: %s. A new one starts%s.",
            reason,
            f" in {wait:g} s" if wait else "",
        )
        self._loop.call_later(wait, self.start)
        self.on_exit(reason)


def exit_reason(code: int | None) -> str:
    """Return why a process ended, as far as its exit code says so."""
    if code is None or code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    return f"killed by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
