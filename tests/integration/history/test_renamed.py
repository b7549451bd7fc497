"""A renamed actor keeps its versions, in the store and in Dagster; a copied one is told apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.orchestration.dagster_patches.automation import last_evaluation
from avatar_pipeline.orchestration.definitions import defs
from tests.support.chains import add_actor, checks, publish
from tests.support.worlds import Call

MADE = ("photo_intake", "base_image", "face_validation")


@pytest.fixture
def chain(store: ActorStore, world: Path, call: Call) -> dict[str, str]:
    """The digests of anna's first three assets; she is registered."""
    add_actor(store, "anna")
    judged = [{**checks(1, "error")[1], "name": "mouth_closed"}]
    made = {asset: publish(store, "anna", asset, 1, checks=judged).digest for asset in MADE}
    assert call("register")[0] == 0
    return made


def rename(store: ActorStore, old: str, new: str) -> None:
    (Path(store.root.path) / old).rename(Path(store.root.path) / new)


def test_a_renamed_actor_keeps_its_versions_everywhere(
    store: ActorStore, call: Call, chain: dict[str, str]
) -> None:
    rename(store, "anna", "berta")
    code, said, _ = call("register")
    assert code == 0
    assert "1 actor, 0 new, 1 renamed, 0 gone" in said
    assert "berta was called anna: its versions are kept" in said
    assert {asset: store.current("berta", asset).digest for asset in MADE} == chain
    assert store.read(store.current("berta", "base_image"), "berta_base.png")
    assert sorted(path.name for path in store.actor_dir("berta").glob("base_image/*")) == [
        "berta_base.png",
        "manifest.json",
    ]
    for words in (["history", "berta"], ["lineage", "berta"]):
        code, said, _ = call(*words)
        assert code == 0
        assert all(digest[:12] in said for digest in chain.values())
    with dg.DagsterInstance.get() as instance:
        assert instance.get_dynamic_partitions("actors") == ["berta"]
        for asset, digest in chain.items():
            wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=["berta"])
            (record,) = instance.fetch_materializations(wanted, limit=5).records
            event = record.asset_materialization
            assert event is not None and event.tags is not None
            assert event.tags["dagster/data_version"] == digest
            assert event.metadata["renamed_from"].value == "anna"
        key = dg.AssetCheckKey(dg.AssetKey("face_validation"), "mouth_closed")
        verdict = last_evaluation(instance, key, "berta")
        assert verdict is not None
        assert (verdict.passed, verdict.severity) == (False, dg.AssetCheckSeverity.ERROR)
    # again, and once more under a third name
    code, said, _ = call("register")
    assert "1 actor, 0 new, 0 gone" in said and "berta" not in said
    rename(store, "berta", "carla")
    call("register")
    assert {asset: store.current("carla", asset).digest for asset in MADE} == chain
    assert store.read_all(store.current("carla", "base_image")).keys() == {"carla_base.png"}


def test_nothing_is_stale_or_made_again_for_the_name_alone(
    store: ActorStore, call: Call, chain: dict[str, str]
) -> None:
    from avatar_pipeline.orchestration.batch_run import choose_actors

    rename(store, "anna", "berta")
    call("register")
    with dg.DagsterInstance.get() as instance:
        only = ["photo_intake", "base_image", "face_validation"]
        stale = choose_actors(instance, store, missing=False, stale=True, only=only[:1])
        missing = choose_actors(instance, store, missing=True, stale=False, only=only)
        assert (stale, missing) == ([], [])
        from tests.support.dagster_status import statuses_of

        assert statuses_of(instance, defs, "berta", ["photo_intake", "face_validation"]) == {
            "photo_intake": "FRESH",
            "face_validation": "FRESH",
        }


def test_a_copied_actor_is_told_apart(store: ActorStore, call: Call, chain: dict[str, str]) -> None:
    shutil.copytree(store.actor_dir("anna").path, store.actor_dir("berta").path)
    code, said, _ = call("register")
    assert code == 0
    assert "2 actors, 1 new, 0 gone" in said
    assert "berta is a copy of anna: the versions in it are anna's" in said
    assert {asset: store.current("anna", asset).digest for asset in MADE} == chain
    manifest = Path(store.actor_dir("berta").path) / "base_image" / "manifest.json"
    assert json.loads(manifest.read_text())["actor"] == "anna", "a copy is not touched"


def test_a_folder_whose_name_was_given_to_another_actor_since_is_a_renamed_one(
    store: ActorStore, call: Call, chain: dict[str, str]
) -> None:
    rename(store, "anna", "berta")
    add_actor(store, "anna")
    _, said, _ = call("register")
    assert "berta was called anna" in said
    assert {asset: store.current("berta", asset).digest for asset in MADE} == chain
    assert not store.has("anna", "base_image")
