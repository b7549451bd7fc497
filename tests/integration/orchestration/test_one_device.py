"""Processes on one device take turns, by its lock alone and with the pool; benchmarks/one_device.py
is the long proof, with the model.
"""

from __future__ import annotations

import os
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.diffusion.device import choose_device, turn
from avatar_pipeline.orchestration.home import TEMPLATE
from tests.support.small_chain import add_actor
from tests.support.warm import WarmProcess

PROCESSES, ACTORS = 2, 3


@pytest.mark.parametrize("one_home", [False, True])
def test_never_two_on_the_device(store: ActorStore, tmp_path: Path, one_home: bool) -> None:
    running = []
    for index in range(PROCESSES):
        names = [f"p{index}_{number}" for number in range(ACTORS)]
        for name in names:
            add_actor(store, name, None)
        home = tmp_path / ("home" if one_home else f"home{index}")
        home.mkdir(exist_ok=True)
        (home / "dagster.yaml").write_bytes(TEMPLATE.read_bytes())
        running.append(
            WarmProcess(
                ["-m", "tests.support.one_device", *names],
                environment={**os.environ, "DAGSTER_HOME": str(home)},
                stderr=subprocess.STDOUT,
            )
        )
    try:
        for process in running:
            assert any(line == "ready\n" for line in process.stdout)
        # both come while the device is taken, and get in each other's way when it is free
        with turn(choose_device("cpu")):
            for process in running:
                process.stdin.close()
            if one_home:
                wait_for_the_pool(running)
            else:
                for process in running:
                    assert any("waits for the device" in line for line in process.stdout)
        said = [process.stdout.read() for process in running]
        assert [process.wait(600) for process in running] == [0] * PROCESSES, said
    finally:
        for process in running:
            process.end()
    made = [
        store.current(f"p{index}_{number}", "base_image")
        for index in range(PROCESSES)
        for number in range(ACTORS)
    ]
    held = sorted((manifest.device_since, manifest.device_until) for manifest in made)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(held)), held
    assert sum(sum(manifest.waited_seconds.values()) > 0 for manifest in made) >= PROCESSES


def wait_for_the_pool(running: list[WarmProcess]) -> None:
    """Return when a step of each process has, or waits for, the pool's slot."""
    with dg.DagsterInstance.get() as instance:
        while len(instance.event_log_storage.get_concurrency_info("gpu").pending_steps) < PROCESSES:
            assert [process.poll() for process in running] == [None] * PROCESSES
            time.sleep(0.1)
