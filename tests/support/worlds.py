"""A world of one's own for the commands that look back, and two chains of one actor in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.cli.main import main
from avatar_pipeline.orchestration.home import dagster_home
from tests.support.chains import add_actor, make_chain
from tests.support.once import made_once

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dagster home with empty databases: made once a test run, and copied."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DAGSTER_HOME", str(folder))
            dagster_home()

    return made_once(tmp_path_factory, "home", make, copy=False)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_home: Path) -> Path:
    for variable, name in {
        "AVATAR_DATA": "actors",
        "AVATAR_EXPORTS": "exports",
        "DAGSTER_HOME": "home",
    }.items():
        monkeypatch.setenv(variable, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    # no words broken over two lines
    monkeypatch.setattr("avatar_pipeline.cli._shared.out.width", 300)
    (tmp_path / "actors").mkdir()
    shutil.copytree(empty_home, tmp_path / "home", ignore=shutil.ignore_patterns("*.lock"))
    return tmp_path


@pytest.fixture
def store(world: Path) -> ActorStore:
    return ActorStore()


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line: exit code, what it printed, its errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def twice(store: ActorStore) -> list[dict[str, Manifest]]:
    """The whole chain of `anna` in two versions, the older one first."""
    add_actor(store, "anna")
    return [make_chain(store, "anna", 1), make_chain(store, "anna", 2)]
