"""avatar-pipeline batch, on the embedded model: which actors it takes, that the model is loaded
once, and what it prints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.cli.main import main
from avatar_pipeline.diffusion.loading import load_pipeline
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.orchestration.batch_run import choose_actors
from avatar_pipeline.orchestration.home import dagster_home
from avatar_pipeline.orchestration.registration import register

DESCRIPTION = "european 38 year old female with short curly dark hair"
ONLY = ("--only", "photo_intake", "--only", "base_image")
FEW_STEPS = ("--set", "base_image.steps=2", "--set", "base_image.candidates=1")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of three described actors, of which the second cannot be drawn, and a Dagster
    home.
    """
    for variable, name in (
        ("AVATAR_DATA", "actors"),
        ("AVATAR_EXPORTS", "exports"),
        ("DAGSTER_HOME", "home"),
    ):
        monkeypatch.setenv(variable, str(tmp_path / name))
    for seed, (name, framing) in enumerate(
        {"anna": "headshot", "ben": "full_body", "cleo": "headshot"}.items()
    ):
        write(tmp_path, name, framing=framing, seed=seed)
    write(tmp_path, "ben", settings={"base_image": {"width": 7}})
    return tmp_path


def write(world: Path, name: str, **fields: object) -> None:
    folder = world / "actors" / name
    folder.mkdir(parents=True, exist_ok=True)
    spec = {
        "description": DESCRIPTION,
        "likeness": "synthetic",
        "framing": "headshot",
        "seed": 1,
        **fields,
    }
    (folder / "actor.yaml").write_text(yaml.safe_dump(spec))


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


def chosen(missing: bool = False, stale: bool = False) -> list[str]:
    dagster_home()
    with DagsterInstance.get() as instance:
        register(instance, ActorStore())
        return choose_actors(
            instance,
            ActorStore(),
            missing=missing,
            stale=stale,
            only=["photo_intake", "base_image"],
        )


def test_all_with_one_load_and_the_failed_one_by_name_then_only_what_is_missing_or_stale(
    world: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []

    def counted(preset: Preset, *rest: Any) -> Any:
        loads.append(preset.name)
        return load_pipeline(preset, *rest)

    monkeypatch.setattr("avatar_pipeline.diffusion.loaded.load_pipeline", counted)
    code, out, err = call(capsys, "batch", "--all", *ONLY, *FEW_STEPS)
    assert code == 1
    assert loads == ["embedded"]
    assert "1 of 3 actors failed; the others are made.\nben: " in err
    assert "width = 7" in err
    assert "Traceback" not in err
    for line in ("1 of 3  anna", "2 of 3  ben  failed", "3 of 3  cleo"):
        assert line in err
    assert all(name in out for name in ("anna", "ben", "cleo"))
    store = ActorStore()
    assert [len(store.versions(actor, "base_image")) for actor in ("anna", "ben", "cleo")] == [
        1,
        0,
        1,
    ]

    assert chosen(missing=True) == ["ben"]
    assert chosen(stale=True) == []
    write(world, "cleo", seed=77)
    assert chosen(stale=True) == ["cleo"]
    assert chosen(missing=True, stale=True) == ["ben", "cleo"]

    write(world, "ben")
    assert call(capsys, "batch", "--missing", "--stale", *ONLY, *FEW_STEPS)[0] == 0
    assert chosen(missing=True, stale=True) == []
    code, out, _ = call(capsys, "batch", "--missing", "--stale", *ONLY)
    assert (code, out) == (0, "Nothing to make: no actor is missing or stale.\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Which actors? Give names, or --all, --missing, --stale"),
        (("anna", "nobody"), "There is no actor 'nobody'"),
        (("anna", "--only", "portrait"), "There is no asset 'portrait'"),
        (("anna", "--preset", "sd3"), "preset 'sd3' does not exist"),
    ],
)
def test_what_is_refused_before_anything_is_made(
    world: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    code, _, err = call(capsys, "batch", *arguments)
    assert code == 1
    assert words in err
    assert not (world / "actors" / "anna" / "versions").exists()
