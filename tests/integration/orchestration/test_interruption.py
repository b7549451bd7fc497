"""Terminating a run while it draws: it ends between two steps, says so, and leaves the store as it
was.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support import warm

# Drawing takes minutes: 64 pictures of 150 steps each.
SPECIFICATION = """\
description: european 38 year old female with short curly dark hair
likeness: synthetic
framing: headshot
seed: 3
settings:
  base_image: {steps: 150, candidates: 64}
"""
ENDS_WITHIN = 60  # seconds: a run that does not stop takes ten minutes


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_stops_while_it_draws_and_stores_nothing(
    tmp_path: Path, sent: signal.Signals
) -> None:
    folder = tmp_path / "actors" / "slow"
    folder.mkdir(parents=True)
    (folder / "actor.yaml").write_text(SPECIFICATION)
    environment = {
        **os.environ,
        "AVATAR_DATA": str(tmp_path / "actors"),
        "AVATAR_EXPORTS": str(tmp_path / "exports"),
        "DAGSTER_HOME": str(tmp_path / "home"),
    }
    registered = warm.run(["-m", "avatar_pipeline", "register"], environment)
    assert registered.returncode == 0, registered.stderr
    job = [
        "-m",
        "dagster",
        "asset",
        "materialize",
        "-m",
        "avatar_pipeline.definitions",
        "--partition",
        "slow",
    ]
    selected = [*job, "--select", "photo_intake,base_image"]
    run = warm.WarmProcess(selected, environment=environment, stderr=subprocess.STDOUT)
    watchdog = threading.Timer(300, run.kill)
    watchdog.start()
    lines: list[str] = []
    try:
        for line in run.stdout:
            lines.append(line)
            if " of 150, " in line:  # the first word of progress: it is drawing
                break
        stored = sorted(str(path) for path in folder.rglob("*"))
        run.send_signal(sent)
        assert run.wait(ENDS_WITHIN) != 0
        log = "".join(lines) + run.stdout.read()
    finally:
        watchdog.cancel()
        run.end()
    assert "base_image" in log and "interrupted" in log.lower(), log[-3000:]
    assert sorted(str(path) for path in folder.rglob("*")) == stored
    assert not (folder / "base_image").exists()
    assert "photo_intake" in {path.name for path in folder.iterdir()}
