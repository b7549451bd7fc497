"""What manifests say of staleness is what Dagster says, for one actor of several, after each kind
of change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest
from PIL import Image

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.orchestration.inputs import observed_versions
from avatar_pipeline.orchestration.registration import register
from avatar_pipeline.pipeline.staleness import missing_assets, stale_assets
from tests.support.small_chain import CHAIN, Materialize, add_actor

STAGES = {stage.name: stage for stage in CHAIN}


def nothing(store: ActorStore, materialize: Materialize) -> None:
    pass


def a_photograph(store: ActorStore, materialize: Materialize) -> None:
    Image.new("RGB", (32, 32), "green").save(
        Path(store.actor_dir("red").path) / "photos" / "00.png"
    )


def the_specification(store: ActorStore, materialize: Materialize) -> None:
    add_to = Path(store.actor_dir("red").path) / "actor.yaml"
    add_to.write_text(add_to.read_text() + "framing: headshot\n")


def an_upstream_asset(store: ActorStore, materialize: Materialize) -> None:
    assert materialize("red", only=["base_image"], base_image={"width": 32}).success


def an_upstream_asset_to_the_same(store: ActorStore, materialize: Materialize) -> None:
    assert materialize("red", only=["base_image"]).success


def a_photograph_and_back(store: ActorStore, materialize: Materialize) -> None:
    a_photograph(store, materialize)
    assert materialize("red", only=["base_image"]).success
    (Path(store.actor_dir("red").path) / "photos" / "00.png").unlink()


@pytest.mark.parametrize(
    "change",
    [
        nothing,
        a_photograph,
        the_specification,
        an_upstream_asset,
        an_upstream_asset_to_the_same,
        a_photograph_and_back,
    ],
)
def test_as_dagster_says(
    store: ActorStore,
    instance: dg.DagsterInstance,
    small_defs: dg.Definitions,
    materialize: Materialize,
    change: Callable[[ActorStore, Materialize], None],
) -> None:
    add_actor(store, "never", "red")
    register(instance, store)
    assert materialize("red").success
    assert materialize("blue").success
    change(store, materialize)
    register(instance, store)
    resolver = CachingStaleStatusResolver(
        instance, small_defs.resolve_asset_graph(), LoadingContextForTest(instance)
    )
    observed = observed_versions(instance)
    for actor in ("red", "blue", "never"):
        said = {asset: resolver.get_status(dg.AssetKey(asset), actor).value for asset in STAGES}
        seen = {asset: versions[actor] for asset, versions in observed.items() if actor in versions}
        assert missing_assets(store, actor, STAGES) == [
            asset for asset in STAGES if said[asset] == "MISSING"
        ]
        assert set(stale_assets(store, actor, seen, STAGES)) == {
            asset for asset in STAGES if said[asset] == "STALE"
        }
    assert bool(
        stale_assets(store, "red", {a: v["red"] for a, v in observed.items() if "red" in v}, STAGES)
    ) is (change not in (nothing, an_upstream_asset_to_the_same))


def test_a_new_code_version_and_the_reasons(
    store: ActorStore, instance: dg.DagsterInstance, materialize: Materialize
) -> None:
    register(instance, store)
    assert materialize("red").success
    newer = {
        **STAGES,
        "face_validation": dataclasses.replace(STAGES["face_validation"], code_version="2"),
    }
    assert stale_assets(store, "red", {"actor_photos": "else"}, newer) == {
        "base_image": "actor_photos has changed",
        "face_validation": "its code is version 2, and was 1",
        "training_variations": "actor_photos has changed",
    }
