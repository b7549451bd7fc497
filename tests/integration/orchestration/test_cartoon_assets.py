"""The group that makes the cartoon generators: apart from the actors' assets, and really run, on a
handful of pictures and steps.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from avatar_pipeline.cartoon_definitions import defs
from avatar_pipeline.cartoons import generator, training
from avatar_pipeline.cartoons.attributes import SIZES
from avatar_pipeline.core.digests import sha256_file
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.orchestration.assets.cartoons import CURVES, GROUP
from avatar_pipeline.orchestration.assets.folders import CartoonFolders
from avatar_pipeline.orchestration.definitions import defs as actor_defs

GANS = [f"cartoon_gan_{size}" for size in SIZES]
STEPS = 3


def test_the_graph() -> None:
    graph = defs.resolve_asset_graph()
    found = {
        node.key.to_user_string(): sorted(parent.to_user_string() for parent in node.parent_keys)
        for node in graph.asset_nodes
    }
    assert found == {
        "cartoon_dataset": [],
        "cartoon_gan_large": ["cartoon_dataset"],
        "cartoon_gan_small": ["cartoon_dataset"],
        "cartoon_evaluation": ["cartoon_gan_large", "cartoon_gan_small"],
    }
    for node in graph.asset_nodes:
        assert node.group_name == GROUP
        assert node.code_version and node.description and node.automation_condition is None
        assert node.pools == ({"gpu"} if node.key.to_user_string() in GANS else set())
    assert not graph.get_all_asset_keys() & actor_defs.resolve_asset_graph().get_all_asset_keys()
    repository = defs.get_repository_def()
    assert (list(repository.sensor_defs), list(repository.schedule_defs)) == ([], [])
    assert (
        "module_name: avatar_pipeline.cartoon_definitions\n"
        in (PROJECT / "workspace.yaml").read_text()
    )


def test_the_generators_that_ship_are_written_only_when_asked_for(tmp_path: Path) -> None:
    assert CartoonFolders(build=str(tmp_path)).finished_folder() == tmp_path / "weights"
    assert CartoonFolders(weights=str(generator.WEIGHTS)).finished_folder() == generator.WEIGHTS
    assert CartoonFolders.default_build() == PROJECT / "build" / "cartoons"


def run(build: Path, *assets: str, steps: int = STEPS) -> dg.ExecuteInProcessResult:
    config: dict[str, dict[str, Any]] = {name: {"steps": steps, "device": "cpu"} for name in GANS}
    config["cartoon_dataset"] = {"count": 32, "held_out": 24}
    config["cartoon_evaluation"] = {"pictures": 24, "steps": 1}
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[dg.AssetKey(asset) for asset in assets],
        run_config={
            "ops": {asset: {"config": config[asset]} for asset in assets},
            "resources": {"folders": {"config": {"build": str(build)}}},
        },
        raise_on_error=False,
    )


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cartoons")


@pytest.fixture(scope="module")
def made(build: Path) -> dg.ExecuteInProcessResult:
    result = run(build, "cartoon_dataset", *GANS, "cartoon_evaluation")
    assert result.success, [
        event.step_failure_data for event in result.all_events if event.is_step_failure
    ]
    return result


def reported(
    result: dg.ExecuteInProcessResult, asset: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Metadata values and tags of an asset's one materialization."""
    (event,) = result.asset_materializations_for_node(asset)
    return {name: value.value for name, value in event.metadata.items()}, dict(event.tags or {})


def test_the_data_set_tells_its_digest_and_whose_style_it_is(
    made: dg.ExecuteInProcessResult, build: Path
) -> None:
    metadata, tags = reported(made, "cartoon_dataset")
    facts = json.loads((build / "dataset" / "dataset.json").read_text())
    assert tags["dagster/data_version"] == facts["digest"] == metadata["digest"]
    assert (metadata["author"], metadata["licence"]) == ("Pablo Stanley", "CC0 1.0")
    assert metadata["source"] == "https://www.openpeeps.com/"
    assert (metadata["pictures"], metadata["pictures_a_size"], metadata["held_out_a_size"]) == (
        64,
        32,
        24,
    )
    assert "data:image/jpeg;base64," in metadata["contact_sheet"]


def test_trainings_report_curves_samples_and_what_they_were_trained_on(
    made: dg.ExecuteInProcessResult, build: Path
) -> None:
    dataset_version = reported(made, "cartoon_dataset")[0]["digest"]
    for size, asset in zip(SIZES, GANS, strict=True):
        metadata, tags = reported(made, asset)
        weights = build / "weights" / f"{size}.safetensors"
        assert tags["dagster/data_version"] == sha256_file(weights)
        assert metadata["files"] == str(weights)
        assert metadata["inputs"] == {"cartoon_dataset": dataset_version}
        assert tags["dagster/input_data_version/cartoon_dataset"] == dataset_version
        assert (metadata["steps"], metadata["seed"]) == (STEPS, training.SEED)
        assert all(metadata[name] > 0 for name in CURVES)
        for picture in ("curves", "samples_over_time", "first_samples", "last_samples"):
            assert "data:image/jpeg;base64," in metadata[picture]
        assert 500 < metadata["kilobytes"] < 10_000


def test_the_evaluation_tells_its_figures(made: dg.ExecuteInProcessResult, build: Path) -> None:
    metadata, _ = reported(made, "cartoon_evaluation")
    assert metadata["inputs"] == {asset: reported(made, asset)[0]["digest"] for asset in GANS}
    # three steps draw one grey
    assert metadata["small: diversity, pixels"] < 0.8 and not metadata["met"]
    assert "| clusters covered |" in metadata["table"]
    for name in ("pairs", "on_checkerboard"):
        assert (build / "evaluation" / f"large_{name}.png").is_file()
        assert "data:image/jpeg;base64," in metadata[f"small_{name}"]


def test_a_finished_training_is_not_done_again_and_says_so(
    made: dg.ExecuteInProcessResult, build: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    again = run(build, "cartoon_gan_small")
    assert (
        reported(again, "cartoon_gan_small")[0]["digest"]
        == reported(made, "cartoon_gan_small")[0]["digest"]
    )
    assert "Goes on from" in capfd.readouterr().err


def test_without_a_data_set_it_tells_what_to_materialize_first(tmp_path: Path) -> None:
    result = run(tmp_path, "cartoon_gan_small")
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data
    assert data.user_failure_data is not None
    assert "-m avatar_pipeline.cartoon_definitions --select cartoon_dataset" in str(
        data.user_failure_data.description
    )
