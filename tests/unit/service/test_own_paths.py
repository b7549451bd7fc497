"""No answer names a folder of the server."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tests.support.chains import DESCRIPTION
from tests.support.guarded import application


def test_a_broken_actor_is_told_of_without_the_servers_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVATAR_DATA", str(tmp_path / "actors"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    (tmp_path / "actors" / "anna").mkdir(parents=True)
    (tmp_path / "actors" / "anna" / "actor.yaml").write_text("description: [")
    with application(tmp_path / "service") as (url, _):
        answer = requests.post(
            f"{url}/api/generate-base-image",
            json={"actorName": "anna", "description": DESCRIPTION},
            timeout=30,
        )
    assert answer.status_code == 422
    assert "anna/actor.yaml cannot be read as YAML" in answer.json()["error"]
    assert str(tmp_path) not in answer.text
