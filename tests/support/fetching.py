"""`avatar-pipeline fetch` in a process of its own, against a hub on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.hub_server import Hub

# The command, but for the 23 seconds that the hub's library waits between its five retries.
AT_ONCE = """
from huggingface_hub.utils import _http
from types import SimpleNamespace
_http.time = SimpleNamespace(**(vars(_http.time) | {"sleep": lambda seconds: None}))
from avatar_pipeline.cli.main import main
main()
"""


def run_fetch(
    hub: Hub, folder: Path, *arguments: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the command with a cache and a home of its own in `folder`."""
    own = {
        "HF_HOME": str(folder / "cache"),
        "HF_ENDPOINT": hub.url,
        "DAGSTER_HOME": str(folder / "home"),
        "AVATAR_ACCEPT_LICENCES": "",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", AT_ONCE, "fetch", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **own, **environ},
    )


def run_offline(folder: Path, script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a script as a run of the pipeline is: with that cache and home, and the hub switched
    off.
    """
    own = {
        "HF_HOME": str(folder / "cache"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_OFFLINE": "1",
        "DAGSTER_HOME": str(folder / "home"),
    }
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **own, **environ},
    )


def assert_one_error(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The command failed with one message, which has these words."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    message = done.stderr.partition("Error: ")[2]
    for word in words:
        assert word in message, done.stderr


def snapshot(folder: Path, repo: str, revision: str) -> Path:
    """Where a model lies in the cache."""
    return folder / "cache" / "hub" / f"models--{repo.replace('/', '--')}" / "snapshots" / revision


def files_of(snapshot: Path) -> set[str]:
    """The files of a model in the cache, by their paths."""
    return {path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()}
