"""The command ui, as a script starts and stops it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from avatar_pipeline.core.home import PROJECT
from tests.support.ports import free_port


def test_sigterm_ends_the_ui_that_a_script_has_started_in_the_background(tmp_path: Path) -> None:
    """A shell without job control starts such a process with SIGINT ignored."""
    process = subprocess.Popen(
        [
            "sh",
            "-c",
            f'"{sys.executable}" -m avatar_pipeline ui --port {free_port()} & echo $!; wait',
        ],
        cwd=PROJECT,
        env={
            **os.environ,
            "DAGSTER_HOME": str(tmp_path / "home"),
            "AVATAR_DATA": str(tmp_path),
            "PYTHONUNBUFFERED": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        pid = int(process.stdout.readline())
        for line in process.stdout:
            if "Launching Dagster services" in line:
                os.kill(pid, signal.SIGTERM)
                break
        process.wait(60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0
