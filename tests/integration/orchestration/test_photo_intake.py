"""photo_intake as an asset: for the demo actor, a described one and one with too few photographs;
it never asks for a model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.core.openpeople import emotion_tiles
from avatar_pipeline.orchestration.definitions import defs
from avatar_pipeline.orchestration.registration import register
from avatar_pipeline.pipeline.context import RunContext

ASSETS = ("photo_intake", "base_image")
Run = Callable[[str], dg.ExecuteInProcessResult]


@pytest.fixture
def intake(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Materialize photo_intake alone, or with what follows: `intake("demo")`, `intake("few
    photo_intake base_image")`.
    """
    monkeypatch.setenv("AVATAR_DATA", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path_factory.mktemp("home")))

    def no_model(self: RunContext, spec: object) -> None:
        raise AssertionError("photo_intake needs no model")

    for name in ("demo", "0100_european_25_male"):
        (tmp_path / name).mkdir()
        shutil.copy(PROJECT / "data" / "actors" / name / "actor.yaml", tmp_path / name)
    (tmp_path / "few" / "photos").mkdir(parents=True)
    (tmp_path / "few" / "actor.yaml").write_text(
        "description: a 30 year old woman\nlikeness: synthetic\nphotos: folder\n"
    )
    for emotion, tile in list(emotion_tiles("P002").items())[:4]:
        tile.save(tmp_path / "few" / "photos" / f"{emotion}.png")
    register(instance, ActorStore())
    monkeypatch.setattr(RunContext, "session", no_model)

    def run(what: str) -> dg.ExecuteInProcessResult:
        actor, *assets = what.split()
        return defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            partition_key=actor,
            asset_selection=[dg.AssetKey(asset) for asset in assets or ASSETS[:1]],
            raise_on_error=False,
        )

    return run


def test_the_demo_actor(intake: Run) -> None:
    result = intake("demo")
    assert result.success
    (event,) = result.asset_materializations_for_node("photo_intake")
    metadata: dict[str, Any] = {name: value.value for name, value in event.metadata.items()}
    assert (
        metadata["photographs"],
        metadata["used"],
        metadata["held_out"],
        metadata["rejected"],
    ) == (18, 14, 4, 0)
    assert "data:image/jpeg;base64," in metadata["contact_sheet"]
    assert (
        metadata["own_distance_95_from"]
        < metadata["own_distance_95"]
        < metadata["own_distance_95_to"]
    )
    for name in ("photographs_table", "coverage_table", "missing_table"):
        assert name in metadata
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert {name: check.passed for name, check in checks.items()} == {
        "enough_photographs": True,
        "coverage": False,
        "strangers": True,
        "as_described": False,
    }
    assert checks["as_described"].metadata["verdict"].value == "not_assessed"
    assert checks["coverage"].severity == dg.AssetCheckSeverity.WARN
    assert "no three-quarter view to the left" in str(checks["coverage"].description)
    held_out = [row["name"] for row in _heads() if row["held_out"]]
    assert held_out == ["06_disgusted.png", "08_confused.png", "09_smug.png", "10_flirty.png"], (
        "the split of the demo has moved"
    )


def _heads() -> list[dict[str, object]]:
    store = ActorStore()
    return list(
        json.loads(store.read(store.current("demo", "photo_intake"), "heads.json"))["photographs"]
    )


def test_a_described_actor(intake: Run) -> None:
    result = intake("0100_european_25_male")
    assert result.success
    (event,) = result.asset_materializations_for_node("photo_intake")
    assert event.metadata["statement"].value == "no photographs: described actor"
    assert {check.description for check in result.get_asset_check_evaluations()} == {
        "Not assessed: no photographs: described actor."
    }


def test_too_few_photographs_for_a_lora_are_a_warning_that_stops_nothing(intake: Run) -> None:
    result = intake("few")
    assert result.success
    few = [
        check
        for check in result.get_asset_check_evaluations()
        if check.check_name == "enough_photographs"
    ]
    assert [(check.passed, check.severity) for check in few] == [
        (False, dg.AssetCheckSeverity.WARN)
    ]
    assert "4 photographs are usable" in str(few[0].description)
    store = ActorStore()
    assert "contact_sheet.jpg" in store.current("few", "photo_intake").files


def test_a_changed_photograph_draws_no_other_root_seed(intake: Run, tmp_path: Path) -> None:
    """actor.yaml says no seed: what the first version drew stands."""
    intake("few")
    first = ActorStore().current("few", "photo_intake")
    emotion_tiles("P002")["pensive"].save(tmp_path / "few" / "photos" / "new.png")
    intake("few")
    second = ActorStore().current("few", "photo_intake")
    assert second.digest != first.digest
    assert second.root_seed == first.root_seed
