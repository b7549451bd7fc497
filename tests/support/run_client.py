"""Runs a client that a contract prints, as a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CLIENTS = Path(__file__).parent / "clients"


def run_client(
    name: str, folder: Path, replaced: dict[str, str], before: str = "", after: str = ""
) -> str:
    """Run clients/`name` in `folder`; returns what it printed. replaced: URL, token and file, each
    of which must be in it.
    """
    text = (CLIENTS / name).read_text()
    for old, new in replaced.items():
        assert old in text, f"{name} does not say {old!r}"
        text = text.replace(old, new)
    script = folder / f"{name}.py"
    script.write_text(before + text + after)
    # no PATH: there is no viewer for img.show() to start
    environment = {**os.environ, "PATH": "", "IMAGE_API_KEY": "no-token-needed"}
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
