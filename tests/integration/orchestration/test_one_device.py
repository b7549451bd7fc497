"""Processes on one device take turns, by its lock alone and with the pool; benchmarks/one_device.py
is the long proof, with the model.
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.orchestration.home import TEMPLATE
from tests.support.small_chain import add_actor

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
        environment = {**os.environ, "DAGSTER_HOME": str(home)}
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.support.one_device", *names],
                cwd=PROJECT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        )
    try:
        for process in running:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.close()
        assert [process.wait(timeout=600) for process in running] == [0] * PROCESSES
    finally:
        for process in running:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    made = [
        store.current(f"p{index}_{number}", "base_image")
        for index in range(PROCESSES)
        for number in range(ACTORS)
    ]
    held = sorted((manifest.device_since, manifest.device_until) for manifest in made)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(held)), held
    # they did get in each other's way
    assert max(sum(manifest.waited_seconds.values()) for manifest in made) > 0
