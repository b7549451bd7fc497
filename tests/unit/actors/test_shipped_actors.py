"""The actors that come with the project are in order, and the real person among them refuses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from avatar_pipeline.actors.description import check_description
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import ActorError
from avatar_pipeline.core.home import PROJECT

SHIPPED = PROJECT / "data" / "actors"


@pytest.mark.parametrize("name", ["demo", "0100_european_25_male", "prof_hahne"])
def test_specifications_are_valid_and_descriptions_good(name: str) -> None:
    spec = ActorStore(SHIPPED).spec(name)
    assert check_description(spec.description) == []
    assert spec.framing == "headshot"


def test_prof_hahne_refuses_as_shipped(tmp_path: Path) -> None:
    (tmp_path / "prof_hahne").mkdir()
    shutil.copy(SHIPPED / "prof_hahne" / "actor.yaml", tmp_path / "prof_hahne")
    with pytest.raises(
        ActorError,
        match=r"(?s)prof_hahne is a real "
        r"person.*prof_hahne/photos.*prof_hahne/consent\.yaml",
    ):
        ActorStore(tmp_path).photos("prof_hahne")


@pytest.mark.child_process
def test_the_store_is_light_to_import() -> None:
    heavy = {"torch", "diffusers", "cv2", "dlib", "scipy", "pandas"}
    code = f"import sys, avatar_pipeline.actors.store; print(*{heavy} & set(sys.modules))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == ""
    )
