"""The home folder is made once, whoever comes first."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.warm import WarmProcess


def test_processes_that_come_at_once_make_one_home(tmp_path: Path) -> None:
    """Without the lock, one of two fails in most tries: "table snapshots already exists"."""
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path / "home")}
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
        WarmProcess(["-c", code, name], environment=environment, stderr=subprocess.STDOUT)
        for name in names
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.stdout.read() for process in processes]
        assert [process.wait(120) for process in processes] == [0] * 4, said
    finally:
        for process in processes:
            process.end()
    assert (tmp_path / "home" / "dagster.yaml").is_file()
