"""The home folder is made once, whoever comes first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from avatar_pipeline.core.home import PROJECT


def test_processes_that_come_at_once_make_one_home(tmp_path: Path) -> None:
    """Without the lock, one of two fails in most tries: "table snapshots already exists"."""
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path / "home"), "PYTHONPATH": str(PROJECT)}
    code = """
import sys
from dagster import DagsterInstance
from avatar_pipeline.orchestration.home import dagster_home
print("ready", flush=True)
sys.stdin.readline()
dagster_home()
with DagsterInstance.get() as instance:
    instance.add_dynamic_partitions("actors", [sys.argv[1]])
"""
    names = [f"actor_{number}" for number in range(4)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, name],
            env=environment,
            cwd=PROJECT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for name in names
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert (tmp_path / "home" / "dagster.yaml").is_file()
