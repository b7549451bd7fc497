"""The policy, tick by tick: what is requested for whom, once, and what is not."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.orchestration.assets.actor_assets import stage_asset
from avatar_pipeline.orchestration.definitions import defs
from avatar_pipeline.orchestration.inputs import EXTERNAL_ASSETS, observation
from avatar_pipeline.orchestration.registration import register
from avatar_pipeline.orchestration.resources import StoreResource, ToolsResource
from avatar_pipeline.pipeline.registry import STAGES
from tests.support.small_chain import CHAIN, Materialize, add_actor

ALL = {stage.name for stage in CHAIN}


class Ticks:
    """The sensor, one tick after another. `tick()` gives the requested assets by actor.

    One tick asks hundreds of times which actors there are, while it writes down what it found; here
    the database answers once a tick.
    """

    def __init__(self, defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.defs, self.instance = defs, instance
        self.cursor: object = None

    def tick(self) -> dict[str, set[str]]:
        with pytest.MonkeyPatch.context() as patch:
            actors = cache(self.instance.get_dynamic_partitions)
            patch.setattr(self.instance, "get_dynamic_partitions", actors)
            result = dg.evaluate_automation_conditions(
                self.defs,
                self.instance,
                cursor=self.cursor,  # type: ignore[arg-type]
            )
        self.cursor = result.cursor
        found: dict[str, set[str]] = {}
        for key in self.defs.resolve_asset_graph().materializable_asset_keys:
            for actor in result.get_requested_partitions(key):
                found.setdefault(str(actor), set()).add(key.to_user_string())
        return found


@pytest.fixture
def ticks(small_defs: dg.Definitions, instance: dg.DagsterInstance) -> Ticks:
    return Ticks(small_defs, instance)


@pytest.fixture
def made(
    ticks: Ticks, instance: dg.DagsterInstance, store: ActorStore, materialize: Materialize
) -> Ticks:
    """Both actors registered, requested and made, and the sensor has seen it."""
    register(instance, store)
    assert ticks.tick() == {"red": ALL, "blue": ALL}
    for actor in ("red", "blue"):
        assert materialize(actor).success
    assert ticks.tick() == {}
    return ticks


def photo(store: ActorStore, actor: str, name: str, colour: str) -> None:
    Image.new("RGB", (32, 32), colour).save(Path(store.actor_dir(actor).path) / "photos" / name)


def edit(store: ActorStore, actor: str, change: Callable[[str], str]) -> None:
    yaml = Path(store.actor_dir(actor).path) / "actor.yaml"
    yaml.write_text(change(yaml.read_text()))


def test_what_is_missing_is_requested_at_the_first_tick_and_once(
    ticks: Ticks, instance, store: ActorStore
) -> None:
    register(instance, store)
    assert ticks.tick() == {"red": ALL, "blue": ALL}
    assert ticks.tick() == {}
    assert ticks.tick() == {}


def test_a_changed_photograph_requests_its_readers_and_what_follows_for_that_actor_only(
    made: Ticks, instance, store: ActorStore, materialize: Materialize
) -> None:
    photo(store, "red", "00.png", "green")
    register(instance, store)
    assert made.tick() == {"red": ALL}
    assert made.tick() == {}, "requested, and not yet begun"
    assert materialize("red").success
    assert made.tick() == {}
    assert made.tick() == {}


def test_what_lies_upstream_of_the_change_is_left_alone(
    made: Ticks, instance, store: ActorStore, materialize: Materialize
) -> None:
    assert materialize("red", only=["base_image"], base_image={"width": 32}).success
    assert made.tick() == {"red": {"face_validation", "training_variations"}}


def test_a_new_timestamp_a_comment_and_the_same_again_request_nothing(
    made: Ticks, instance, store: ActorStore, materialize: Materialize
) -> None:
    os.utime(Path(store.actor_dir("red").path) / "photos" / "01.png", (1, 1))
    edit(store, "red", lambda text: "# a comment\n" + text)
    register(instance, store)
    assert made.tick() == {}
    assert materialize("blue", only=["base_image"]).success
    assert made.tick() == {}
    assert made.tick() == {}


def test_changed_settings_request_the_actor(
    made: Ticks, instance, store: ActorStore, materialize: Materialize
) -> None:
    edit(store, "blue", lambda text: text + "settings: {base_image: {width: 32}}\n")
    register(instance, store)
    assert made.tick() == {"blue": ALL}
    assert materialize("blue").success
    assert made.tick() == {}


def test_a_changed_code_version_requests_all_actors_once_also_those_who_are_busy(
    made: Ticks, instance, store: ActorStore, materialize: Materialize
) -> None:
    newer = dataclasses.replace(CHAIN[1], code_version="2")
    assets = [stage_asset(newer if stage is CHAIN[1] else stage) for stage in CHAIN]
    made.defs = dg.Definitions(
        [*EXTERNAL_ASSETS, *assets], resources={"store": StoreResource(), "tools": ToolsResource()}
    )
    job = made.defs.resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(
        job,
        tags={"dagster/partition": "red"},
        asset_selection=frozenset({dg.AssetKey("face_validation")}),
    )
    instance.handle_run_event(run.run_id, dg.DagsterEvent("PIPELINE_START", job.name))
    # what is downstream of it waits: whether it must be made again is only known when the new
    # report differs
    assert made.tick() == {"blue": {"face_validation", "training_variations"}}
    assert made.tick() == {}
    instance.report_run_canceled(run)
    assert made.tick() == {"red": {"face_validation", "training_variations"}}
    assert made.tick() == {}


def test_an_upstream_error_blocks_until_it_is_mended(
    ticks: Ticks, instance, store: ActorStore, materialize: Materialize
) -> None:
    add_actor(store, "dark", "black")
    register(instance, store, only=["dark"])
    assert ticks.tick() == {"dark": ALL}
    assert not materialize("dark").success
    assert ticks.tick() == {}
    # another cause for what lies downstream, which does not change the verdict
    edit(store, "dark", lambda text: text.replace("brown", "black"))
    register(instance, store, only=["dark"])
    assert ticks.tick() == {"dark": ALL}, "the whole chain may come out differently now"
    assert not materialize("dark").success
    assert ticks.tick() == {}
    assert materialize("dark", only=["base_image"], base_image={"width": 32}).success
    assert ticks.tick() == {"dark": {"face_validation", "training_variations"}}


def test_downstream_alone_is_not_requested_past_a_failed_check(
    ticks: Ticks, instance, store: ActorStore, materialize: Materialize
) -> None:
    """Also with an empty cursor, when all that is missing is looked at anew."""
    add_actor(store, "dark", "black")
    register(instance, store, only=["dark"])
    assert not materialize("dark", only=["base_image", "face_validation"]).success
    assert ticks.tick() == {}


def test_warnings_do_not_block(
    made: Ticks, instance, store: ActorStore, materialize: Materialize
) -> None:
    """Every actor of the small chain has two of them."""
    photo(store, "red", "00.png", "green")
    register(instance, store)
    assert materialize("red", only=["base_image", "face_validation"]).success
    assert made.tick() == {"red": {"training_variations"}}


def test_a_failed_run_is_not_retried_until_something_changes(
    made: Ticks, instance, store: ActorStore, materialize: Materialize
) -> None:
    path = Path(store.actor_dir("red").path) / "photos" / "01.png"
    path.write_text("not a picture")
    register(instance, store)
    assert made.tick() == {"red": ALL}
    assert not materialize("red").success
    for _ in range(3):
        assert made.tick() == {}
    assert Ticks(made.defs, instance).tick() == {}, "nor with an empty cursor"
    photo(store, "red", "01.png", "yellow")
    register(instance, store)
    assert made.tick() == {"red": ALL}


def test_a_first_run_that_failed_is_not_retried_either(
    ticks: Ticks, instance, store: ActorStore, materialize: Materialize
) -> None:
    (Path(store.actor_dir("red").path) / "photos" / "01.png").write_text("not a picture")
    register(instance, store, only=["red"])
    assert ticks.tick() == {"red": ALL}
    assert not materialize("red").success
    for _ in range(3):
        assert ticks.tick() == {}
    assert Ticks(ticks.defs, instance).tick() == {}, "nor with an empty cursor"


def test_an_empty_cursor_requests_nothing_that_is_up_to_date(made: Ticks, instance) -> None:
    again = Ticks(made.defs, instance)
    assert again.tick() == {}
    assert again.tick() == {}


def test_what_a_run_observes_is_no_second_reason(
    made: Ticks, instance, store: ActorStore, materialize: Materialize
) -> None:
    photo(store, "red", "00.png", "green")
    register(instance, store)
    assert made.tick() == {"red": ALL}
    photo(store, "red", "00.png", "yellow")  # after the request, before the run, and not registered
    assert materialize("red").success
    assert made.tick() == {}
    assert register(instance, store).changed == []
    assert made.tick() == {}


def test_a_change_while_its_run_is_under_way_is_requested_afterwards(
    made: Ticks, instance, store: ActorStore, materialize: Materialize
) -> None:
    photo(store, "red", "00.png", "green")
    register(instance, store)
    assert made.tick() == {"red": ALL}
    assert materialize("red").success
    # the run has read the other one already; the sensor sees both at once
    photo(store, "red", "00.png", "yellow")
    register(instance, store)
    assert made.tick() == {"red": ALL}
    assert materialize("red").success
    assert made.tick() == {}


def test_two_runs_between_two_ticks_are_told_apart(
    made: Ticks, instance, store: ActorStore, materialize: Materialize
) -> None:
    for actor, colour in (("red", "green"), ("blue", "yellow")):
        photo(store, actor, "00.png", colour)
    register(instance, store)
    assert made.tick() == {"red": ALL, "blue": ALL}
    for actor in ("red", "blue"):
        assert materialize(actor).success
    assert made.tick() == {}
    assert made.tick() == {}


def test_a_person_who_was_faster_leaves_nothing_to_do(
    made: Ticks, instance, store: ActorStore, materialize: Materialize
) -> None:
    photo(store, "red", "00.png", "green")
    register(instance, store)
    assert materialize("red").success
    assert made.tick() == {}
    assert made.tick() == {}


def test_an_actor_who_comes_later_and_one_who_goes(
    made: Ticks, instance, store: ActorStore, materialize: Materialize
) -> None:
    add_actor(store, "green", "green")
    register(instance, store)
    assert made.tick() == {"green": ALL}
    assert made.tick() == {}
    photo(store, "red", "00.png", "green")
    register(instance, store)
    instance.delete_dynamic_partition("actors", "red")
    assert made.tick() == {}
    assert made.tick() == {}


def test_an_actor_whose_inputs_are_unusable_is_not_requested(
    ticks: Ticks, instance, store: ActorStore
) -> None:
    edit(store, "red", lambda text: text.replace("synthetic", "real"))  # and there is no consent
    edit(store, "blue", lambda text: "description: person\nlikeness: synthetic\n")
    register(instance, store)
    assert ticks.tick() == {}
    edit(store, "red", lambda text: text.replace("likeness: real", "likeness: synthetic"))
    register(instance, store)
    assert ticks.tick() == {"red": ALL}


def test_the_sensor_of_the_real_chain(instance: dg.DagsterInstance) -> None:
    from avatar_pipeline.orchestration.automation.policy import automation_sensor
    from avatar_pipeline.orchestration.tags import KEEP_UNCHANGED_TAG

    assert automation_sensor.default_status == dg.DefaultSensorStatus.STOPPED
    assert automation_sensor.run_tags == {KEEP_UNCHANGED_TAG: "true"}
    assert not automation_sensor.emit_backfills


@pytest.fixture
def real(instance: dg.DagsterInstance) -> Ticks:
    """The real definitions, with two actors whose inputs are known; `report` makes assets without a
    run.
    """
    instance.add_dynamic_partitions("actors", ["anna", "ben"])
    for actor in ("anna", "ben"):
        for asset in ("actor_spec", "actor_photos", "base_model"):
            instance.report_runless_asset_event(observation(actor, asset, "1"))
    return Ticks(defs, instance)


def report(
    instance: dg.DagsterInstance, actor: str, version: str, assets: Sequence[str] = tuple(STAGES)
) -> None:
    """Materializations as a run's, with versions of inputs as Dagster knows them now."""
    for asset in assets:
        stage = STAGES[asset]
        tags = {
            "dagster/data_version": f"{asset}-{version}",
            "dagster/code_version": stage.code_version,
        }
        for name in (*stage.external, *stage.upstream, *stage.after):
            last = instance.get_latest_data_version_record(dg.AssetKey(name), partition_key=actor)
            assert last is not None
            event = last.asset_materialization or last.asset_observation
            assert event is not None
            tags[f"dagster/input_data_version/{name}"] = (event.tags or {})["dagster/data_version"]
            tags[f"dagster/input_event_pointer/{name}"] = str(last.storage_id)
        instance.report_runless_asset_event(
            dg.AssetMaterialization(asset, partition=actor, tags=tags)
        )


def after(asset: str) -> set[str]:
    """An asset of the real chain and all that lies downstream of it."""
    keys = dg.AssetSelection.assets(asset).downstream().resolve(defs.resolve_asset_graph())
    # the service's assets are nobody's to make
    return {key.to_user_string() for key in keys} & set(STAGES)


def test_the_real_chain(real: Ticks, instance: dg.DagsterInstance) -> None:
    assert real.tick() == {"anna": set(STAGES), "ben": set(STAGES)}
    for actor in ("anna", "ben"):
        report(instance, actor, "1")
    assert real.tick() == {}
    instance.report_runless_asset_event(observation("anna", "actor_photos", "1"))
    assert real.tick() == {}, "the same content"
    instance.report_runless_asset_event(observation("anna", "actor_photos", "2"))
    assert real.tick() == {"anna": set(STAGES)}
    report(instance, "anna", "2")
    assert real.tick() == {}
    report(instance, "ben", "2", ["training_variations"])  # by hand
    assert real.tick() == {"ben": after("training_variations") - {"training_variations"}}
    report(instance, "ben", "2", ["lora", "validated_avatar", "liveportrait_export"])
    instance.report_runless_asset_event(observation("ben", "base_model", "2"))
    assert real.tick() == {"ben": after("base_image")}
