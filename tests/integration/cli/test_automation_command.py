"""`avatar-pipeline automation on` switches all sensors and schedules on in an instance that no
daemon has ever seen, and off again.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from avatar_pipeline.cli.main import main

NAMES = {"actors_sensor", "automation", "failures", "nightly_refresh", "weekly_revalidation"}


def running() -> set[str]:
    with dg.DagsterInstance.get() as instance:
        return {
            state.instigator_name for state in instance.all_instigator_state() if state.is_running
        }


def test_on_and_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(SystemExit, match="0"):
        main(["automation", "on"])
    assert running() == NAMES
    out = capsys.readouterr().out
    assert all(name in out for name in NAMES)
    assert "no daemon is running" in " ".join(out.split())
    with pytest.raises(SystemExit, match="0"):
        main(["automation", "off"])
    assert running() == set()
    assert "no daemon" not in capsys.readouterr().out, "off needs none"
