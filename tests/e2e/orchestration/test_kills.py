"""Runs killed at random moments: the short form of benchmarks/kills.py, which is the proof."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

from avatar_pipeline.core.home import PROJECT


def test_killed_runs_lose_nothing_and_the_next_run_gives_the_same(tmp_path: Path) -> None:
    script = [
        sys.executable,
        "benchmarks/kills.py",
        "3",
        "--quick",
        "--csv",
        str(tmp_path / "kills.csv"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        script,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=PROJECT,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    with (tmp_path / "kills.csv").open() as file:
        kills = list(csv.DictReader(file))
    assert [kill["asset"] for kill in kills] == ["photo_intake", "base_image", "photo_intake"]
    assert [kill["faults"] for kill in kills] == [""] * 3
