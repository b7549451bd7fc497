"""The group that makes the embedded model: apart from the actors' assets, and really run, on a
handful of pictures and steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from avatar_pipeline.bundled_model.build_folder import prepare_denoiser
from avatar_pipeline.bundled_model_definitions import defs
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.diffusion.presets import EMBEDDED_MODEL, get_preset
from avatar_pipeline.diffusion.weights_digest import model_sha256
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.orchestration.assets.bundled_model import GROUP
from avatar_pipeline.orchestration.assets.folders import BundledModelFolders
from avatar_pipeline.orchestration.assets.training_history import draw_history, read_history
from avatar_pipeline.orchestration.definitions import defs as actor_defs

STEPS = {
    "embedded_autoencoder": 2,
    "embedded_text_encoder": 4,
    "embedded_denoiser": 3,
    "embedded_decoder": 2,
}


def test_the_graph() -> None:
    graph = defs.resolve_asset_graph()
    found = {
        node.key.to_user_string(): sorted(parent.to_user_string() for parent in node.parent_keys)
        for node in graph.asset_nodes
    }
    assert found == {
        "embedded_dataset": [],
        "embedded_autoencoder": ["embedded_dataset"],
        "embedded_text_encoder": [],
        "embedded_denoiser": ["embedded_autoencoder", "embedded_dataset", "embedded_text_encoder"],
        "embedded_decoder": [
            "embedded_autoencoder",
            "embedded_dataset",
            "embedded_denoiser",
            "embedded_text_encoder",
        ],
        "embedded_pipeline": ["embedded_decoder", "embedded_denoiser", "embedded_text_encoder"],
        "embedded_evaluation": ["embedded_pipeline"],
    }
    for node in graph.asset_nodes:
        assert node.group_name == GROUP
        assert node.partitions_def is None
        assert node.automation_condition is None
        assert node.code_version
        assert node.description
        used = node.key.to_user_string() in ("embedded_denoiser", "embedded_evaluation")
        assert node.pools == ({"gpu"} if used else set())


def test_nothing_of_the_actors_can_start_a_training() -> None:
    keys = {node.key for node in defs.resolve_asset_graph().asset_nodes}
    actors = actor_defs.resolve_asset_graph()
    assert not keys & actors.get_all_asset_keys()
    assert dg.AssetSelection.all().resolve(actors).isdisjoint(keys)
    repository = defs.get_repository_def()
    assert not repository.has_sensor_def("actors_sensor")
    assert (list(repository.sensor_defs), list(repository.schedule_defs)) == ([], [])


def test_the_ui_shows_both_locations() -> None:
    workspace = (PROJECT / "workspace.yaml").read_text()
    assert "module_name: avatar_pipeline.definitions\n" in workspace
    assert "module_name: avatar_pipeline.bundled_model_definitions\n" in workspace


def test_the_model_that_ships_is_written_only_when_asked_for(tmp_path: Path) -> None:
    folders = BundledModelFolders(build=str(tmp_path))
    assert folders.finished_folder() == tmp_path / "model"
    assert (
        BundledModelFolders(build=str(tmp_path), model=str(EMBEDDED_MODEL)).finished_folder()
        == EMBEDDED_MODEL
    )
    assert BundledModelFolders.default_build() == PROJECT / "build" / "bundled_model"


Run = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("embedded")


@pytest.fixture(scope="module")
def run(build: Path) -> Iterator[Run]:
    """Run assets of the group on the build folder, all on one instance."""
    with dg.DagsterInstance.ephemeral() as instance:

        def execute(
            *assets: str, config: dict[str, Any] | None = None, folder: Path = build
        ) -> dg.ExecuteInProcessResult:
            return defs.resolve_implicit_global_asset_job_def().execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(asset) for asset in assets],
                run_config={
                    "ops": {
                        asset: {"config": {"steps": STEPS[asset]}}
                        for asset in assets
                        if asset in STEPS
                    }
                    | (config or {}),
                    "resources": {"folders": {"config": {"build": str(folder)}}},
                },
                raise_on_error=False,
            )

        yield execute


@pytest.fixture(scope="module")
def trained(run: Run, build: Path, analyzer: FaceAnalyzer) -> dg.ExecuteInProcessResult:
    """A run of all but the evaluation. The real data set takes minutes: this one has one person's
    pictures, and stands in for it.
    """
    from avatar_pipeline.bundled_model import bodies, dataset, images

    def few(analyzer: FaceAnalyzer, folder: Path, seed: int) -> None:
        heads = dataset.photographs(analyzer, ("P001",))
        standing = [bodies.shrunk(sample) for sample in bodies.body_pictures(analyzer, ("P001",))]
        mixture = dataset.mix(heads[0], heads[1], 0.5, analyzer)
        assert mixture is not None
        groups = {
            "photographs": heads[:4],
            "morphs": [mixture],
            "turned": list(dataset.rotated_samples(heads[:2], seed)),
            "bodies": standing[:2],
            "body_morphs": standing[2:],
        }
        images.write_pictures(groups, folder, seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "make_pictures", few)
        result = run("embedded_dataset", *STEPS, "embedded_pipeline")
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


def test_the_dataset_has_a_digest_counts_and_a_contact_sheet(
    trained: dg.ExecuteInProcessResult, build: Path
) -> None:
    metadata, tags = reported(trained, "embedded_dataset")
    facts = json.loads((build / "dataset" / "dataset.json").read_text())
    assert tags["dagster/data_version"] == facts["digest"] == metadata["digest"]
    assert (metadata["photographs"], metadata["morphs"], metadata["seed"]) == (4, 1, facts["seed"])
    assert metadata["pictures"] == sum(
        facts[name] for name in ("photographs", "morphs", "turned", "bodies", "body_morphs")
    )
    assert "data:image/jpeg;base64," in metadata["contact_sheet"]
    assert Path(metadata["contact_sheet_file"]).is_file()


def test_trainings_report_curves_figures_and_what_they_were_trained_on(
    trained: dg.ExecuteInProcessResult,
) -> None:
    versions = {}
    for asset, steps in STEPS.items():
        metadata, tags = reported(trained, asset)
        versions[asset] = tags["dagster/data_version"]
        assert len(versions[asset]) == 64
        assert metadata["steps"] == steps
        assert metadata["seconds"] > 0
        assert isinstance(metadata["seed"], int)
    autoencoder, tags = reported(trained, "embedded_autoencoder")
    assert 20 < autoencoder["psnr"] < 60
    assert "data:image/jpeg;base64," in autoencoder["curves"]
    dataset_version = reported(trained, "embedded_dataset")[0]["digest"]
    assert autoencoder["inputs"] == {"embedded_dataset": dataset_version}
    assert tags["dagster/input_data_version/embedded_dataset"] == dataset_version
    assert reported(trained, "embedded_text_encoder")[0]["loss"] > 0
    denoiser = reported(trained, "embedded_denoiser")[0]
    assert denoiser["inputs"] == {
        "embedded_dataset": dataset_version,
        "embedded_autoencoder": versions["embedded_autoencoder"],
        "embedded_text_encoder": versions["embedded_text_encoder"],
    }


def test_a_finished_denoiser_is_not_trained_again(
    trained: dg.ExecuteInProcessResult, run: Run
) -> None:
    again = reported(run("embedded_denoiser"), "embedded_denoiser")[0]
    assert again["digest"] == reported(trained, "embedded_denoiser")[0]["digest"]
    assert again["steps"] == STEPS["embedded_denoiser"]


def test_the_pipeline_loads_and_draws(trained: dg.ExecuteInProcessResult, build: Path) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    from avatar_pipeline.diffusion.patch_autoencoder import PatchAutoencoder

    metadata, tags = reported(trained, "embedded_pipeline")
    model = build / "model"
    assert tags["dagster/data_version"] == model_sha256(model)
    assert 1 < metadata["megabytes"] < 60
    assert (model / get_preset("embedded").identity_adapter).is_file()
    code = PatchAutoencoder.from_pretrained(model / "vae")
    pipeline = StableDiffusionPipeline.from_pretrained(model, vae=code, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(
        "a person",
        num_inference_steps=2,
        width=256,
        height=256,
        generator=torch.Generator().manual_seed(1),
    )
    assert drawn.images[0].size == (256, 256)


def test_the_evaluation_measures_the_pipeline(
    trained: dg.ExecuteInProcessResult, run: Run, build: Path
) -> None:
    card = (EMBEDDED_MODEL.parent / "MODEL_CARD.md").read_bytes()
    result = run(
        "embedded_evaluation", config={"embedded_evaluation": {"config": {"only": ["disk"]}}}
    )
    assert result.success
    metadata, _ = reported(result, "embedded_evaluation")
    assert metadata["figures"] == 1
    assert "| figure |" in metadata["table"]
    assert metadata["inputs"] == {
        "embedded_pipeline": reported(trained, "embedded_pipeline")[0]["digest"]
    }
    assert (build / "evaluation" / "evaluation.json").is_file()
    assert (EMBEDDED_MODEL.parent / "MODEL_CARD.md").read_bytes() == card
    message = failure(
        run("embedded_evaluation", config={"embedded_evaluation": {"config": {"only": ["beauty"]}}})
    )
    assert "there is no measure 'beauty' of the embedded model. Measures: faces, " in message


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The message of the one step that failed."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data
    assert data.user_failure_data is not None, "not a dg.Failure"
    return str(data.user_failure_data.description)


@pytest.mark.parametrize(
    "asset", ["embedded_autoencoder", "embedded_denoiser", "embedded_pipeline"]
)
def test_without_its_inputs_an_asset_tells_what_to_materialize_first(
    run: Run, tmp_path: Path, asset: str
) -> None:
    message = failure(run(asset, folder=tmp_path))
    assert (
        "Materialize it first: dagster asset materialize -m "
        "avatar_pipeline.bundled_model_definitions --select embedded_" in message
    )


def test_a_denoiser_resumes_on_the_same_inputs_only(tmp_path: Path) -> None:
    checkpoint, latents = tmp_path / "denoiser.pt", tmp_path / "latents.pt"
    assert prepare_denoiser(tmp_path, {"embedded_dataset": "a"}) == ""
    checkpoint.write_bytes(b"hours")
    latents.write_bytes(b"minutes")
    assert prepare_denoiser(tmp_path, {"embedded_dataset": "a"}) == ""
    assert checkpoint.exists() and latents.exists()
    told = prepare_denoiser(tmp_path, {"embedded_dataset": "b"})
    assert not checkpoint.exists() and not latents.exists()
    (kept,) = tmp_path.glob("denoiser-*.pt")
    assert kept.read_bytes() == b"hours"
    assert kept.name in told


def test_the_history_of_a_resumed_training_has_each_step_once(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    assert read_history(path) == []
    steps = [50, 100, 150, 100, 150, 200]
    path.write_text(
        "".join(json.dumps({"step": step, "loss": float(n)}) + "\n" for n, step in enumerate(steps))
    )
    rows = read_history(path)
    assert [(row["step"], row["loss"]) for row in rows] == [
        (50, 0.0),
        (100, 3.0),
        (150, 4.0),
        (200, 5.0),
    ]
    assert draw_history(rows).size == (500, 400)
    path.write_text(json.dumps([{"step": 0, "loss": 1.0, "psnr": 30.0}]))
    assert draw_history(read_history(path)).size == (1000, 400)
    with pytest.raises(ValueError, match="no curves"):
        draw_history([])
