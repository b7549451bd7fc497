"""Restored versions in Dagster: what their event says, what counts as stale, and what an automation
policy makes of it.
"""

from __future__ import annotations

from dataclasses import replace

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.history.images import pictures
from avatar_pipeline.history.restore import Report, restore, restore_downstream
from avatar_pipeline.imaging.images import open_image
from avatar_pipeline.orchestration.assets.actor_assets import stage_asset
from avatar_pipeline.orchestration.inputs import EXTERNAL_ASSETS
from avatar_pipeline.orchestration.registration import register
from avatar_pipeline.orchestration.resources import StoreResource, ToolsResource
from avatar_pipeline.orchestration.restore_events import report_restored, runs_under_way
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.stage import Inputs, StageResult
from tests.support import small_chain
from tests.support.small_chain import Materialize, NoSettings


def judge(inputs: Inputs, settings: NoSettings, context: RunContext) -> StageResult:
    """As the small chain's, with a report that is another for each base image."""
    made = small_chain.judge(inputs, settings, context)
    made.files["size.txt"] = str(
        open_image(inputs.file("base_image", "{actor}_base.png"), name="base").size
    ).encode()
    return made


CHAIN = [
    replace(stage, run=judge) if stage.name == "face_validation" else stage
    for stage in small_chain.CHAIN
]
ASSETS = [stage.name for stage in CHAIN]


@pytest.fixture(scope="module")
def small_defs() -> dg.Definitions:
    return dg.Definitions(
        assets=[*EXTERNAL_ASSETS, *(stage_asset(stage) for stage in CHAIN)],
        resources={"store": StoreResource(), "tools": ToolsResource()},
        executor=dg.in_process_executor,
    )


@pytest.fixture
def report(instance: dg.DagsterInstance, store: ActorStore) -> Report:
    def tell(manifest: Manifest, by: str, when: str) -> None:
        report_restored(
            instance,
            manifest,
            pictures(store, manifest),
            str(store.actor_dir(manifest.actor)),
            by,
            when,
        )

    return tell


@pytest.fixture
def two_versions(
    materialize: Materialize, store: ActorStore, instance: dg.DagsterInstance
) -> list[dict[str, Manifest]]:
    """The small chain of `red` in two versions, and of `blue` in one; the older one first."""
    made = []
    register(instance, store)
    assert materialize("blue").success
    for width in (32, 48):
        assert materialize("red", base_image={"width": width}).success
        made.append({asset: store.current("red", asset) for asset in ASSETS})
    return made


def status(defs: dg.Definitions, instance: dg.DagsterInstance, actor: str) -> dict[str, str]:
    resolver = CachingStaleStatusResolver(
        instance, defs.resolve_asset_graph(), LoadingContextForTest(instance)
    )
    return {asset: resolver.get_status(dg.AssetKey(asset), actor).value for asset in ASSETS}


FRESH, STALE = StaleStatus.FRESH.value, StaleStatus.STALE.value


def test_the_event_tells_what_the_version_is(
    two_versions: list[dict[str, Manifest]],
    instance: dg.DagsterInstance,
    store: ActorStore,
    report: Report,
) -> None:
    old = two_versions[0]["base_image"]
    made = next(
        event.asset_materialization
        for event in instance.fetch_materializations(dg.AssetKey("base_image"), limit=10).records
        if event.asset_materialization
        and event.asset_materialization.tags["dagster/data_version"] == old.digest  # type: ignore[index]
        and event.asset_materialization.partition == "red"
    )
    restore(store, "red", "base_image", old.digest, report)
    event = instance.get_latest_materialization_event(dg.AssetKey("base_image"))
    assert event is not None
    found = event.asset_materialization
    assert found is not None
    assert found.partition == "red"
    assert event.run_id == ""
    kept = {
        name: value
        for name, value in (made.tags or {}).items()
        if name.startswith("dagster/") and "partition" not in name
    }
    assert kept.items() <= dict(found.tags or {}).items()
    assert found.metadata["restored"].value is True
    assert found.metadata["restored_by"].value
    assert found.metadata["manifest"].value == old.model_dump(mode="json")
    assert "data:image/jpeg;base64," in str(found.metadata["base_image"].value)


def test_downstream_is_stale_until_it_follows(
    two_versions: list[dict[str, Manifest]],
    small_defs: dg.Definitions,
    instance: dg.DagsterInstance,
    store: ActorStore,
    report: Report,
) -> None:
    assert set(status(small_defs, instance, "red").values()) == {FRESH}
    done = restore(store, "red", "base_image", two_versions[0]["base_image"].digest, report)
    assert status(small_defs, instance, "red") == {
        "base_image": FRESH,
        "face_validation": STALE,
        "training_variations": STALE,
    }
    assert [version.digest for version in done.downstream] == [
        two_versions[0][asset].digest for asset in ASSETS[1:]
    ]
    restore_downstream(store, "red", "base_image", report)
    assert set(status(small_defs, instance, "red").values()) == {FRESH}
    assert {asset: store.current("red", asset) for asset in ASSETS} == two_versions[0]
    assert set(status(small_defs, instance, "blue").values()) == {FRESH}


def test_a_version_made_from_other_inputs_is_stale(
    two_versions: list[dict[str, Manifest]],
    small_defs: dg.Definitions,
    instance: dg.DagsterInstance,
    store: ActorStore,
    report: Report,
) -> None:
    done = restore(
        store, "red", "training_variations", two_versions[0]["training_variations"].digest, report
    )
    assert done.differing == {
        "base_image": (two_versions[0]["base_image"].digest, two_versions[1]["base_image"].digest)
    }
    assert status(small_defs, instance, "red") == {
        "base_image": FRESH,
        "face_validation": FRESH,
        "training_variations": STALE,
    }


def test_staleness_without_the_first_events(
    two_versions: list[dict[str, Manifest]],
    small_defs: dg.Definitions,
    store: ActorStore,
    materialize: Materialize,
) -> None:
    """Another instance, which never saw the older version made, finds out by the manifest."""
    with dg.DagsterInstance.ephemeral() as other:
        register(other, store)
        job = small_defs.resolve_implicit_global_asset_job_def()
        config = {"ops": {"base_image": {"config": {"width": 48}}}}
        assert job.execute_in_process(
            instance=other, partition_key="red", run_config=config
        ).success

        def report(manifest: Manifest, by: str, when: str) -> None:
            report_restored(other, manifest, {}, "folder", by, when)

        restore(store, "red", "base_image", two_versions[0]["base_image"].digest, report)
        assert status(small_defs, other, "red")["base_image"] == FRESH
        assert status(small_defs, other, "red")["face_validation"] == STALE
        restore(store, "red", "base_image", two_versions[1]["base_image"].digest, report)
        assert set(status(small_defs, other, "red").values()) == {FRESH}
        restore(
            store,
            "red",
            "training_variations",
            two_versions[0]["training_variations"].digest,
            report,
        )
        assert status(small_defs, other, "red")["training_variations"] == STALE


def test_reported_once(
    two_versions: list[dict[str, Manifest]], instance: dg.DagsterInstance
) -> None:
    """A restoration that is carried out a second time, after a kill, leaves one event."""
    for _ in range(2):
        report_restored(
            instance, two_versions[0]["base_image"], {}, "folder", "me", "2026-01-01T00:00:00"
        )
    records = instance.fetch_materializations(dg.AssetKey("base_image"), limit=100).records
    assert (
        sum(
            "restored" in event.asset_materialization.metadata
            for event in records
            if event.asset_materialization
        )
        == 1
    )


def requested(
    defs: dg.Definitions, instance: dg.DagsterInstance, cursor: object
) -> tuple[set[tuple[str, str]], object]:
    result = dg.evaluate_automation_conditions(defs, instance, cursor=cursor)  # type: ignore[arg-type]
    keys = {
        (str(key.path[-1]), partition)
        for key in defs.resolve_asset_graph().materializable_asset_keys
        for partition in result.get_requested_partitions(key)
    }
    return {(asset, str(partition)) for asset, partition in keys}, result.cursor


def test_automation_leaves_a_restored_version_alone(
    two_versions: list[dict[str, Manifest]],
    instance: dg.DagsterInstance,
    store: ActorStore,
    report: Report,
) -> None:
    condition = dg.AutomationCondition.eager().replace(
        "newly_updated", dg.AutomationCondition.data_version_changed()
    )
    stages = [stage_asset(stage) for stage in CHAIN]
    automated = [
        asset.map_asset_specs(lambda spec: spec.replace_attributes(automation_condition=condition))
        for asset in stages
    ]
    defs = dg.Definitions(
        [*EXTERNAL_ASSETS, *automated],
        resources={"store": StoreResource(), "tools": ToolsResource()},
    )
    none: set[tuple[str, str]] = set()
    found, cursor = requested(defs, instance, None)
    found, cursor = requested(defs, instance, cursor)
    assert found == none
    # With what was made from it: nothing is to be made.
    restore(store, "red", "base_image", two_versions[0]["base_image"].digest, report)
    restore_downstream(store, "red", "base_image", report)
    for _ in range(3):
        found, cursor = requested(defs, instance, cursor)
        assert found == none
    # One that is made from other inputs than the current ones: what came before has been seen, so
    # it stays until an input changes.
    restore(
        store, "red", "training_variations", two_versions[1]["training_variations"].digest, report
    )
    for _ in range(3):
        found, cursor = requested(defs, instance, cursor)
        assert found == none
    # An input by itself: what lies downstream is asked for once, the restored one never.
    restore(store, "red", "base_image", two_versions[1]["base_image"].digest, report)
    found, cursor = requested(defs, instance, cursor)
    assert found == {("face_validation", "red"), ("training_variations", "red")}


def test_runs_under_way(instance: dg.DagsterInstance, small_defs: dg.Definitions) -> None:
    job = small_defs.resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(
        job, tags={"dagster/partition": "red"}, status=dg.DagsterRunStatus.STARTED
    )
    assert runs_under_way(instance, "red") == [run.run_id]
    assert runs_under_way(instance, "blue") == []
