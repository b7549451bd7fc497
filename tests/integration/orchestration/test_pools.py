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

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.orchestration.pools import PROCESS_TAG, free_slots_of_dead_runs, process_tag
from avatar_pipeline.orchestration.registration import register
from avatar_pipeline.orchestration.runs import RunOptions, run_actor


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


def test_a_run_is_tagged_from_its_first_moment(
    small_defs: dg.Definitions, instance: dg.DagsterInstance, store: ActorStore
) -> None:
    """Killed before its resources start, it would otherwise count as living indefinitely.
    (Resources tag no run of an ephemeral instance.)
    """
    register(instance, store)
    outcome = run_actor(
        small_defs.resolve_implicit_global_asset_job_def(),
        instance,
        store,
        "red",
        RunOptions(only=["base_image"]),
    )
    run = instance.get_run_by_id(outcome.run_id)
    assert run is not None and run.tags[PROCESS_TAG] == process_tag(outcome.run_id)[PROCESS_TAG]
