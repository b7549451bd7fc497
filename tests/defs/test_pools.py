"""A killed run's slot is given back; a living run's is not."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.test_utils import create_run_for_test

from avatar_pipeline.defs.pools import PROCESS_TAG, free_slots_of_dead_runs, process_tag


def dead_process() -> str:
    """The tag of a process that ran on this host and is gone."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = psutil.Process(process.pid).create_time()
    return f"{platform.node()}:{process.pid}:{started}"


@pytest.mark.parametrize(
    ("holder", "freed"),
    [
        ("dead", True),
        ("alive", False),
        ("elsewhere", False),
        ("untagged", False),
        ("finished", True),
    ],
)
def test_who_keeps_the_slot(tmp_path: Path, holder: str, freed: bool) -> None:
    tags = {
        "dead": {PROCESS_TAG: dead_process()},
        "alive": process_tag(),
        "elsewhere": {PROCESS_TAG: "another-host:1:1.0"},
        "untagged": {},
        "finished": process_tag(),
    }[holder]
    status = dg.DagsterRunStatus.SUCCESS if holder == "finished" else dg.DagsterRunStatus.STARTED
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        run = create_run_for_test(instance, status=status, tags=tags)
        storage = instance.event_log_storage
        storage.set_concurrency_slots("gpu", 1)
        storage.claim_concurrency_slot("gpu", run.run_id, "lora")
        dead = free_slots_of_dead_runs(instance)
        assert bool(storage.get_concurrency_info("gpu").claimed_slots) is not freed
        assert dead == ([run.run_id] if holder == "dead" else [])
        after = instance.get_run_by_id(run.run_id)
        assert after is not None
        assert after.status == (dg.DagsterRunStatus.FAILURE if holder == "dead" else status)
