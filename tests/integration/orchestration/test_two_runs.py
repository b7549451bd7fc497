"""Two runs at once, each a real process: of one actor, and of two actors in the pool of the device;
one of them may be killed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.orchestration.home import TEMPLATE
from tests.support.warm import WarmProcess

LONGEST = 300  # seconds: a run that waits for ever is ended then


class Run:
    """A run of tests.support.slow_runs, whose lines are read as they come."""

    def __init__(self, kind: str, actor: str, gate: Path) -> None:
        self.process = WarmProcess(
            ["-m", "tests.support.slow_runs", kind, actor, str(gate)], stderr=subprocess.STDOUT
        )
        self.lines: list[str] = []
        self.watchdog = threading.Timer(LONGEST, self.process.kill)
        self.watchdog.start()

    def until(self, text: str) -> str:
        """Read until a line holds the text; returns that line."""
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} never came:\n{''.join(self.lines)}")

    def end(self) -> int:
        """Read to the end; returns the exit code."""
        self.lines += self.process.stdout.readlines()
        code = self.process.wait()
        self.watchdog.cancel()
        return code


@pytest.fixture
def start(
    store: ActorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Run]]:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(TEMPLATE, home / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    runs: list[Run] = []

    def starter(kind: str, actor: str, gate: Path) -> Run:
        runs.append(Run(kind, actor, gate))
        return runs[-1]

    yield starter
    for run in runs:
        run.watchdog.cancel()
        run.process.end()


def test_runs_of_one_actor_wait_and_say_for_whom(
    start: Callable[..., Run], store: ActorStore, tmp_path: Path
) -> None:
    killed = start("actor", "red", tmp_path / "never")
    killed.until("working")
    second = start("actor", "red", tmp_path / "two")
    line = second.until("waits for the actor red")
    assert re.search(
        r"base_image of red, run [0-9a-f]{8}, holds it \(host .+, process \d+, since", line
    )
    assert f"process {killed.process.pid}," in line
    assert not store.has("red", "base_image")
    killed.process.kill()
    second.until("working")
    (tmp_path / "three").write_text("third")
    third = start("actor", "red", tmp_path / "three")
    assert f"process {second.process.pid}," in third.until("waits for the actor red")
    (tmp_path / "two").write_text("second")
    assert (second.end(), third.end()) == (0, 0), second.lines + third.lines
    texts = [store.read(version, "made.txt") for version in store.versions("red", "base_image")]
    assert texts == [b"third", b"second"]
    current = store.current("red", "base_image")
    assert store.read(current, "made.txt") == b"third"
    assert current.waited_seconds["actor"] > 0
    # the second run's version was recorded before the third went on
    with dg.DagsterInstance.get() as instance:
        records = instance.fetch_materializations(dg.AssetKey("base_image"), limit=10).records
        states = sorted(run.status.value for run in instance.get_runs())
    newest = records[0].asset_materialization
    assert newest is not None
    assert newest.metadata["digest"].value == current.digest
    assert newest.metadata["waited_actor_seconds"].value == current.waited_seconds["actor"]
    assert states == ["FAILURE", "SUCCESS", "SUCCESS"]  # the killed one does not count as living


def test_the_slot_of_a_killed_run_is_given_to_the_one_that_waits(
    start: Callable[..., Run], store: ActorStore, tmp_path: Path
) -> None:
    first = start("pool", "red", tmp_path / "never")
    first.until("working")
    (tmp_path / "two").write_text("second")
    second = start("pool", "blue", tmp_path / "two")
    with dg.DagsterInstance.get() as instance:
        storage = instance.event_log_storage
        while (
            len(storage.get_concurrency_info("gpu").pending_steps) < 2
            and second.process.poll() is None
        ):
            time.sleep(0.1)  # until the second one waits; the watchdog ends it otherwise
        assert not store.has("blue", "base_image")
        first.process.kill()
        first.process.wait()
        assert second.end() == 0, second.lines
        states = sorted(run.status.value for run in instance.get_runs())
        info = storage.get_concurrency_info("gpu")
    assert states == ["FAILURE", "SUCCESS"]
    assert (info.claimed_slots, info.pending_steps) == ([], [])
    assert store.current("blue", "base_image").waited_seconds["pool"] > 0


def test_dagsters_busy_wait_is_still_the_one_that_is_mended() -> None:
    """When this fails, Dagster has mended it itself: remove
    orchestration/dagster_patches/slot_polling.py.
    """
    from avatar_pipeline.orchestration.dagster_patches.slot_polling import patch_slot_polling

    assert patch_slot_polling()
