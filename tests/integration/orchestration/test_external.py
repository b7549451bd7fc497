"""A changed photograph, specification or model makes exactly its downstream stale; anything else
does not.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.diffusion import presets
from avatar_pipeline.orchestration.assets.actor_assets import stage_asset
from avatar_pipeline.orchestration.inputs import EXTERNAL_ASSETS, observed_version, version_of
from avatar_pipeline.orchestration.registration import register
from avatar_pipeline.orchestration.resources import StoreResource, ToolsResource
from tests.support.hollow import hollow_model, write_weights
from tests.support.small_chain import CHAIN, Materialize


@pytest.fixture(autouse=True)
def both_made(instance: dg.DagsterInstance, store: ActorStore, materialize: Materialize) -> None:
    register(instance, store)
    assert materialize("red").success
    assert materialize("blue").success


FRESH = {"base_image": "FRESH", "face_validation": "FRESH", "training_variations": "FRESH"}


def test_fresh_after_a_run_and_after_registering_again(
    statuses, instance: dg.DagsterInstance, store: ActorStore
) -> None:
    assert register(instance, store).changed == []
    assert statuses("red") == statuses("blue") == FRESH


def test_a_changed_photograph_makes_its_readers_stale_and_no_other_actor(
    statuses, instance: dg.DagsterInstance, store: ActorStore, materialize: Materialize
) -> None:
    Image.new("RGB", (32, 32), "green").save(
        Path(store.actor_dir("red").path) / "photos" / "02.png"
    )
    assert register(instance, store).changed == [("red", "actor_photos")]
    assert statuses("red") == {
        "base_image": "STALE",
        "face_validation": "FRESH",
        "training_variations": "STALE",
    }
    assert statuses("blue") == FRESH
    assert materialize("red").success
    assert statuses("red") == FRESH


def test_a_touched_photograph_and_a_comment_change_nothing(
    statuses, instance: dg.DagsterInstance, store: ActorStore
) -> None:
    folder = Path(store.actor_dir("red").path)
    os.utime(folder / "photos" / "01.png", (1, 1))
    (folder / "actor.yaml").write_text("# a comment\n" + (folder / "actor.yaml").read_text())
    assert register(instance, store).changed == []
    assert statuses("red") == FRESH


def test_a_changed_specification_makes_all_of_the_actor_stale(
    statuses, instance: dg.DagsterInstance, store: ActorStore
) -> None:
    yaml = Path(store.actor_dir("red").path) / "actor.yaml"
    yaml.write_text(yaml.read_text().replace("brown", "black"))
    assert register(instance, store).changed == [("red", "actor_spec")]
    assert set(statuses("red").values()) == {"STALE"}
    assert statuses("blue") == FRESH


def test_a_run_observes_what_nobody_registered(
    statuses, instance: dg.DagsterInstance, store: ActorStore, materialize: Materialize
) -> None:
    Image.new("RGB", (32, 32), "green").save(
        Path(store.actor_dir("red").path) / "photos" / "00.png"
    )
    assert materialize("red", only=["base_image"]).success
    assert observed_version(instance, "red", "actor_photos") == version_of(
        store, "red", "actor_photos"
    )
    assert statuses("red") == {
        "base_image": "FRESH",
        "face_validation": "STALE",
        "training_variations": "STALE",
    }
    assert register(instance, store).changed == []


def test_a_new_code_version_is_stale(statuses) -> None:
    newer = dataclasses.replace(CHAIN[1], code_version="2")
    assets = [stage_asset(newer if stage is CHAIN[1] else stage) for stage in CHAIN]
    defs = dg.Definitions(
        [*EXTERNAL_ASSETS, *assets], resources={"store": StoreResource(), "tools": ToolsResource()}
    )
    assert statuses("red", defs) == {
        "base_image": "FRESH",
        "face_validation": "STALE",
        "training_variations": "FRESH",
    }


def test_a_changed_model_is_observed_for_its_actors(
    instance: dg.DagsterInstance, store: ActorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hollow_model(tmp_path / "model")
    preset = dataclasses.replace(
        presets.PRESETS["embedded"], name="other", model=str(tmp_path / "model")
    )
    monkeypatch.setitem(presets.PRESETS, "other", preset)
    yaml = Path(store.actor_dir("red").path) / "actor.yaml"
    yaml.write_text(yaml.read_text() + "preset: other\n")
    assert ("red", "base_model") in register(instance, store).changed
    write_weights(tmp_path / "model" / "unet" / "model.safetensors", 2.0)
    assert register(instance, store).changed == [("red", "base_model")]
    # an overriding model is the one that is observed, and actor.yaml may name it
    hollow_model(tmp_path / "own", 3.0)
    monkeypatch.setenv("AVATAR_MODEL_OTHER", str(tmp_path / "own"))
    assert register(instance, store).changed == [("red", "base_model")]
    monkeypatch.delenv("AVATAR_MODEL_OTHER")
    assert register(instance, store).changed == [("red", "base_model")]
    yaml.write_text(yaml.read_text() + f"model: {{model: {tmp_path / 'own'}}}\n")
    assert register(instance, store).changed == [("red", "actor_spec"), ("red", "base_model")]


def test_observe_in_the_ui_gives_the_same_versions(
    instance: dg.DagsterInstance, store: ActorStore, small_defs: dg.Definitions
) -> None:
    Image.new("RGB", (32, 32), "green").save(
        Path(store.actor_dir("red").path) / "photos" / "02.png"
    )
    (photos,) = [asset for asset in EXTERNAL_ASSETS if asset.key == dg.AssetKey("actor_photos")]
    job = dg.Definitions(
        assets=[photos],
        jobs=[
            dg.define_asset_job("observe", selection=dg.AssetSelection.all(include_sources=True))
        ],
        resources={"store": StoreResource()},
    ).resolve_job_def("observe")
    assert job.execute_in_process(instance=instance).success
    assert observed_version(instance, "red", "actor_photos") == version_of(
        store, "red", "actor_photos"
    )
    assert register(instance, store).changed == []
