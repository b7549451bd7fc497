"""Schedules: who is chosen, in which order, how many; what revalidation reports; the line of a
failed run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pytest

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.core.home import home_folder
from avatar_pipeline.orchestration.automation import schedules
from avatar_pipeline.orchestration.automation.sensors import failure_line, failures_sensor
from avatar_pipeline.orchestration.definitions import defs
from avatar_pipeline.orchestration.inputs import observation
from avatar_pipeline.orchestration.registration import register
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.stage import MODEL, PHOTOS, SPEC
from tests.support.small_chain import Materialize, add_actor

INPUTS = {SPEC: "s1", PHOTOS: "p1", MODEL: "m1"}


@pytest.fixture
def make(instance: dg.DagsterInstance, store: ActorStore):
    """Store and report an actor's whole chain as made, without a stage: make("red"), or only some
    assets of it.
    """

    def run(actor: str, assets: Sequence[str] = tuple(STAGES)) -> None:
        digests: dict[str, str] = {}
        for asset in assets:
            stage = STAGES[asset]
            inputs = {name: INPUTS[name] for name in stage.external} | {
                name: digests[name] for name in stage.upstream
            }
            manifest = Manifest(
                actor=actor,
                asset=asset,
                code_version=stage.code_version,
                inputs=inputs,
                root_seed=1,
            )
            digests[asset] = store.publish(manifest, {f"{asset}.txt": actor.encode()}).digest
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    asset, partition=actor, tags={"dagster/data_version": digests[asset]}
                )
            )

    return run


@pytest.fixture
def registered(instance: dg.DagsterInstance, store: ActorStore) -> None:
    """red, blue and green, whose inputs Dagster has seen in the versions of INPUTS."""
    add_actor(store, "green", "green")
    instance.add_dynamic_partitions("actors", ["red", "blue", "green"])
    for actor in ("red", "blue", "green"):
        for asset, version in INPUTS.items():
            instance.report_runless_asset_event(observation(actor, asset, version))


@pytest.mark.usefixtures("registered")
def test_due_are_the_missing_and_the_stale_who_waited_longest_first(
    instance, store: ActorStore, make
) -> None:
    make("red")
    make("blue")
    assert schedules.due_actors(instance, store, 10) == ["green"], "never made"
    make("green", list(STAGES)[:3])
    instance.report_runless_asset_event(observation("blue", PHOTOS, "p2"))
    assert schedules.due_actors(instance, store, 10) == ["blue", "green"], (
        "blue's newest asset is older"
    )
    assert schedules.due_actors(instance, store, 1) == ["blue"]
    instance.report_runless_asset_event(observation("blue", PHOTOS, "p1"))
    assert schedules.due_actors(instance, store, 10) == ["green"]


@pytest.mark.usefixtures("registered")
def test_who_failed_last_time_comes_last_and_unusable_inputs_are_left_out(
    instance, store: ActorStore, make
) -> None:
    run = instance.create_run_for_job(
        defs.resolve_job_def("avatar"), tags={"dagster/partition": "blue"}
    )
    instance.report_run_failed(run)
    instance.add_dynamic_partitions("actors", ["nobody"])  # no input of theirs was ever observed
    assert schedules.due_actors(instance, store, 10) == ["green", "red", "blue"]


@pytest.mark.usefixtures("registered")
def test_the_nightly_schedule_asks_for_one_batch_within_its_budget(
    instance, store: ActorStore, make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(schedules.NIGHTLY, "2")

    request = schedules.refresh_request(instance, store)
    assert isinstance(request, dg.RunRequest)
    config = request.run_config["ops"]["batch"]["config"]
    assert config == {"actors": ["blue", "green"], "only": [], "keep_unchanged": True}
    dg.validate_run_config(defs.resolve_job_def("batch"), request.run_config)
    for actor in ("red", "blue", "green"):
        make(actor)
    assert isinstance(schedules.refresh_request(instance, store), dg.SkipReason)


@pytest.mark.usefixtures("registered")
def test_the_weekly_schedule_takes_those_first_who_were_judged_longest_ago(
    instance, store: ActorStore, make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for actor in ("red", "blue"):
        make(actor)
    assert schedules.exports_by_age(instance, 10) == ["red", "blue"], "green has no export"
    instance.report_runless_asset_event(dg.AssetObservation("liveportrait_export", partition="red"))
    assert schedules.exports_by_age(instance, 10) == ["blue", "red"]
    monkeypatch.setenv(schedules.WEEKLY, "1")
    request = schedules.revalidation_request(instance)
    assert isinstance(request, dg.RunRequest)
    dg.validate_run_config(defs.resolve_job_def("revalidate"), request.run_config)
    assert request.run_config["ops"]["revalidate"]["config"] == {"actors": ["blue"]}


@pytest.mark.parametrize("value", ["0", "many", "-3"])
def test_a_bad_budget_names_its_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(schedules.NIGHTLY, value)
    with pytest.raises(StoreError, match=f"{schedules.NIGHTLY} is '{value}'"):
        schedules.budget(schedules.NIGHTLY)


def test_all_are_off_in_a_fresh_instance() -> None:
    repository = defs.get_repository_def()
    assert {sensor.name for sensor in repository.sensor_defs} == {
        "actors_sensor",
        "automation",
        "failures",
    }
    assert {schedule.name for schedule in repository.schedule_defs} == {
        "nightly_refresh",
        "weekly_revalidation",
    }
    assert {sensor.default_status for sensor in repository.sensor_defs} == {
        dg.DefaultSensorStatus.STOPPED
    }
    assert {schedule.default_status for schedule in repository.schedule_defs} == {
        dg.DefaultScheduleStatus.STOPPED
    }


def test_a_failed_run_is_one_line_that_says_who_what_why_and_what_to_do(
    instance, store: ActorStore, materialize: Materialize
) -> None:
    (Path(store.actor_dir("red").path) / "photos" / "01.png").write_text("not\na picture")
    register(instance, store)
    result = materialize("red")
    context = dg.build_run_status_sensor_context(
        "failures",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_failure_event(),
    ).for_run_failure()
    failures_sensor(context)
    failures_sensor(context)
    lines = (home_folder() / "failures.log").read_text().splitlines()
    assert len(lines) == 2
    assert re.match(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ red: base_image: 01.png is not a picture "
        r"that can be read",
        lines[0],
    )
    assert lines[0].endswith(f"| run {result.run_id} | Repair that, then: avatar-pipeline run red")


def test_a_failed_check_is_told_in_its_own_words(
    instance, store: ActorStore, materialize: Materialize
) -> None:
    add_actor(store, "dark", "black")
    register(instance, store)
    line = failure_line(instance, materialize("dark").dagster_run, "not this")
    assert "dark: face_validation: check light: fix it | run" in line


def test_a_run_that_was_killed_has_a_line_too(instance) -> None:
    run = instance.create_run_for_job(defs.resolve_job_def("batch"))
    assert "batch: The process is gone. | run" in failure_line(
        instance, run, "The process is gone."
    )
