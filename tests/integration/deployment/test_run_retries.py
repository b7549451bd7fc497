"""A run whose failure the daemon hears of before the run's record says so is retried all the
same.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import instance_for_test
from dagster._daemon.auto_run_reexecution import auto_run_reexecution

from avatar_pipeline.orchestration.dagster_patches import run_retries


@dg.job
def nothing() -> None:
    pass


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    retries = {
        "run_retries": {"enabled": True, "max_retries": 3, "retry_on_asset_or_op_failure": False}
    }
    with instance_for_test(overrides=retries, temp_dir=str(tmp_path)) as made:
        yield made


def test_a_run_that_has_not_been_marked_yet_is_waited_for(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto_run_reexecution, "filter_runs_to_should_retry", run_retries._choose)
    run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED)
    # When this fails, Dagster has fixed it itself: remove run_retries.py.
    assert list(auto_run_reexecution.filter_runs_to_should_retry([run], instance)) == []
    run_retries.patch_run_retries()
    timer = threading.Timer(0.5, instance.report_run_failed, (run, "its node was lost"))
    timer.start()
    chosen = list(auto_run_reexecution.filter_runs_to_should_retry([run], instance))
    timer.join()
    assert [(one.run_id, one.status) for one in chosen] == [
        (run.run_id, dg.DagsterRunStatus.FAILURE)
    ]


def test_a_finished_run_is_not_waited_for(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("waits"))
    run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.SUCCESS)
    assert run_retries.settled(run, instance) is run
