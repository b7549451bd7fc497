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


def dead_process(run_id: str) -> str:
    """The tag of a run whose process ran on this host and is gone."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = psutil.Process(process.pid).create_time()
    return f"{run_id}:{platform.node()}:{process.pid}:{started}"


@pytest.mark.parametrize("row", ["claimed", "pending"])
@pytest.mark.parametrize(
    ("holder", "freed"),
    [
        ("dead", True),
        ("alive", False),
        ("elsewhere", False),
        ("untagged", False),
        ("made again from a dead one", False),
        ("finished", True),
    ],
)
def test_who_keeps_the_slot(tmp_path: Path, holder: str, freed: bool, row: str) -> None:
    status = dg.DagsterRunStatus.SUCCESS if holder == "finished" else dg.DagsterRunStatus.STARTED
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        run = create_run_for_test(instance, status=status)
        tags = {
            "dead": {PROCESS_TAG: dead_process(run.run_id)},
            "alive": process_tag(run.run_id),
            "elsewhere": {PROCESS_TAG: f"{run.run_id}:another-host:1:1.0"},
            "untagged": {},
            "made again from a dead one": {PROCESS_TAG: dead_process("0" * 36)},
            "finished": process_tag(run.run_id),
        }[holder]
        instance.add_run_tags(run.run_id, tags)
        storage = instance.event_log_storage
        storage.set_concurrency_slots("gpu", 1)
        if row == "pending":  # it waits for the slot of a run that lives
            living = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
            storage.claim_concurrency_slot("gpu", living.run_id, "lora")
        storage.claim_concurrency_slot("gpu", run.run_id, "lora")
        dead = free_slots_of_dead_runs(instance)
        info = storage.get_concurrency_info("gpu")
        kept = info.claimed_slots if row == "claimed" else info.pending_steps
        assert any(found.run_id == run.run_id for found in kept) is not freed
        assert dead == ([run.run_id] if holder == "dead" else [])
        after = instance.get_run_by_id(run.run_id)
        assert after is not None
        assert after.status == (dg.DagsterRunStatus.FAILURE if holder == "dead" else status)
