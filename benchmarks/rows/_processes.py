"""Run a side's processes: seconds, output, and the most memory that they held together."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from rows._row import NotMeasured
from rows._sides import Side

INSIDE = Path(__file__).parent / "inside"
EVERY = 0.1  # seconds between two checks of the memory


@dataclass(frozen=True)
class Done:
    """A process that ended. output: of its standard output. peak: MiB."""

    seconds: float
    output: str
    peak: float


class Memory:
    """The most MiB that a process and its descendants held together, while it is watched."""

    def __init__(self, pid: int) -> None:
        self.peak = 0.0
        self._pid = pid

    def check(self) -> None:
        """Add up the peaks of the processes that live now."""
        try:
            top = psutil.Process(self._pid)
            held = sum(_most(each) for each in (top, *top.children(recursive=True)))
        except psutil.Error:
            return
        self.peak = max(self.peak, held / 2**20)


def _most(process: psutil.Process) -> float:
    """Bytes: the peak of the resident set, where the system says it."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(found[1]) * 1024 if found else 0
    except OSError:
        try:
            return float(process.memory_info().rss)
        except psutil.Error:
            return 0


@contextmanager
def watched(pid: int) -> Iterator[Memory]:
    """Watch a process' memory while the block runs."""
    memory, ended = Memory(pid), threading.Event()

    def watch() -> None:
        while not ended.wait(EVERY):
            memory.check()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        ended.set()
        thread.join()


def run(
    side: Side,
    words: list[str],
    place: Path,
    *,
    more: Mapping[str, str] | None = None,
    allowed: tuple[int, ...] = (0,),
    one_core: bool = False,
) -> Done:
    """Run the side's Python with `words` in its checkout, all it reads and writes below `place`.

    more: variables. allowed: exit codes. one_core: whether it gets a single core. Raises
    NotMeasured with the end of its output for any other exit code.
    """
    environment = side.environment(place) | dict(more or {})
    pinned: Callable[[], None] | None = None
    if one_core and hasattr(os, "sched_setaffinity"):
        core = min(os.sched_getaffinity(0))

        def pinned() -> None:
            os.sched_setaffinity(0, {core})

    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            [side.python, *words],
            cwd=side.folder,
            env=environment,
            stdout=out,
            stderr=log,
            preexec_fn=pinned,
        )
        try:
            with watched(process.pid) as memory:
                process.wait()
        finally:
            process.kill()  # when the wait was interrupted
        seconds = time.monotonic() - began
        out.seek(0)
        log.seek(0)
        output = out.read()
        if process.returncode not in allowed:
            end = (output + log.read())[-3000:]
            raise NotMeasured(f"{' '.join(words)}: exit code {process.returncode}\n{end}")
    return Done(seconds, output, memory.peak)


def command(side: Side, words: list[str], place: Path, **options: Any) -> Done:
    """Run a command of avatar-pipeline, as `run` does."""
    return run(side, ["-m", "avatar_pipeline", *words], place, **options)


def inside(side: Side, script: str, given: Mapping[str, Any], place: Path) -> tuple[Any, Done]:
    """Run a script of `inside`, and return what it says as JSON in its last line."""
    done = run(side, [str(INSIDE / f"{script}.py"), json.dumps(given)], place)
    return json.loads(done.output.strip().splitlines()[-1]), done
