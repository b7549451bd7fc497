"""Programs in processes of their own, which need not import the large libraries again: that is
seconds of each one's time.

They are forked from a process that has imported them and does nothing else, one for each process
of the test run. Each has memory, environment and standard streams of its own, and signals reach it
and nothing else. A test that is about how a command starts starts it as people do.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.reduction import DupFd
from typing import Any

from avatar_pipeline.core.home import PROJECT

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.support.preloaded"])


class WarmProcess:
    """`python -m MODULE ARGUMENTS` or `python -c CODE ARGUMENTS`, to be used as a subprocess.Popen
    with pipes and text.

    stderr: a file's descriptor, subprocess.STDOUT or subprocess.DEVNULL.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stderr: int = subprocess.DEVNULL,
    ) -> None:
        (given, ours), (said, printed) = os.pipe(), os.pipe()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        errors = {subprocess.STDOUT: printed, subprocess.DEVNULL: nowhere}.get(stderr, stderr)
        self._process = CONTEXT.Process(
            target=_Program(
                list(arguments), dict(environment or os.environ), given, printed, errors
            ),
            daemon=True,
        )
        self._process.start()
        for descriptor in (given, printed, nowhere):
            os.close(descriptor)
        self.stdin = os.fdopen(ours, "w", encoding="utf-8")
        self.stdout = os.fdopen(said, encoding="utf-8")
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, below 0 after a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code. Raises TimeoutExpired."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return code

    def send_signal(self, sent: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sent)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(signal.SIGKILL)

    def end(self) -> None:
        """Kill it, wait for it and close its streams."""
        self.kill()
        self.wait()
        self.stdin.close()
        self.stdout.close()


def run(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end: its exit code and what it printed."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        program = WarmProcess(arguments, environment=environment, stderr=errors.fileno())
        try:
            program.stdin.close()
            printed = program.stdout.read()
            code = program.wait(300)
        finally:
            program.end()
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, code, printed, errors.read())


class _Program:
    """What the forked process does; it is handed over pickled."""

    def __init__(self, arguments: list[str], environment: dict[str, str], *streams: int) -> None:
        self.arguments, self.environment, self.streams = arguments, environment, streams

    def __getstate__(self) -> tuple[Any, ...]:
        return self.arguments, self.environment, [DupFd(stream) for stream in self.streams]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.arguments, self.environment, streams = state
        self.streams = tuple(stream.detach() for stream in streams)

    def __call__(self) -> None:
        for place, stream in enumerate(self.streams):
            os.dup2(stream, place)
            os.close(stream)
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(PROJECT)
        # for code that asks, it is no helper of the process that started it
        multiprocessing.process._parent_process = None  # type: ignore[attr-defined]
        kind, program, *rest = self.arguments
        if kind == "-m":
            sys.argv = [program, *rest]
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            sys.argv = [kind, *rest]
            exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
