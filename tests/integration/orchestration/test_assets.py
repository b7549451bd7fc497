"""What an asset reports and stores, where its settings come from, and how it fails."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.orchestration.registration import register
from tests.support.small_chain import Materialize


@pytest.fixture(autouse=True)
def registered(instance: dg.DagsterInstance, store: ActorStore) -> None:
    register(instance, store)


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The message of the one step that failed."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data
    assert data.user_failure_data is not None, "not a dg.Failure"
    return str(data.user_failure_data.description)


def test_data_version_is_the_content_digest(materialize: Materialize, store: ActorStore) -> None:
    result = materialize("red")
    assert result.success
    (event,) = result.asset_materializations_for_node("base_image")
    manifest = store.current("red", "base_image")
    assert event.tags is not None
    assert event.tags["dagster/data_version"] == manifest.digest
    assert event.tags["dagster/code_version"] == "1"
    assert event.partition == "red"


def test_metadata_shows_pictures_tables_numbers_and_the_manifest(
    materialize: Materialize, store: ActorStore
) -> None:
    (event,) = materialize("red").asset_materializations_for_node("base_image")
    metadata = event.metadata
    assert "data:image/jpeg;base64," in str(metadata["picture"].value)
    assert metadata["distance"].value == 0.25
    assert metadata["usable"].value is True
    assert metadata["missing"].value is None
    assert metadata["root_seed"].value == 7
    assert isinstance(metadata["seconds"].value, float)
    assert metadata["warnings_in_words"].value == "- a warning"
    assert metadata["candidates"].value == 2  # the number does not hide the table of the same name
    table = metadata["candidates_table"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [column.name for column in table.schema.columns] == ["name", "score", "note"]
    assert [record.data for record in table.records] == [
        {"name": "a", "score": 1.2346, "note": ""},
        {"name": "b", "score": "", "note": "later"},
    ]
    assert metadata["manifest"].value == store.current("red", "base_image").model_dump(mode="json")


def test_the_same_again_gives_the_same_digests_and_another_seed_others(
    materialize: Materialize, store: ActorStore
) -> None:
    (Path(store.actor_dir("red").path) / "actor.yaml").write_text(
        "description: european 25 year old male with short brown hair\nlikeness: synthetic\nseed: "
        "7\n"
    )
    digests = []
    for seed in (None, 7, 8):
        result = materialize("red", base_image={} if seed is None else {"seed": seed})
        assert result.success
        digests.append(
            [store.current("red", asset).digest for asset in ("base_image", "training_variations")]
        )
    assert digests[0] == digests[1]
    assert not set(digests[0]) & set(digests[2])
    assert store.current("red", "training_variations").root_seed == 8


def test_a_drawn_seed_is_recorded_and_handed_on(
    materialize: Materialize, store: ActorStore
) -> None:
    assert materialize("red", base_image={"seed": -1}).success
    seeds = {
        store.current("red", asset).root_seed
        for asset in ("base_image", "face_validation", "training_variations")
    }
    assert len(seeds) == 1
    assert seeds.pop() >= 0


def test_run_configuration_beats_the_actor_which_beats_the_default(
    materialize: Materialize, store: ActorStore
) -> None:
    assert materialize("red", only=["base_image"]).success
    assert store.current("red", "base_image").settings == {"width": 64, "gain": None}
    yaml = Path(store.actor_dir("red").path) / "actor.yaml"
    yaml.write_text(yaml.read_text() + "settings: {base_image: {width: 48, gain: 2.0}}\n")
    assert materialize("red", only=["base_image"]).success
    assert store.current("red", "base_image").settings == {"width": 48, "gain": 2.0}
    assert materialize("red", only=["base_image"], base_image={"width": 32}).success
    assert store.current("red", "base_image").settings == {"width": 32, "gain": 2.0}


@pytest.mark.parametrize("place", ["run", "actor"])
def test_a_bad_setting_is_one_clear_error_and_leaves_the_store_alone(
    materialize: Materialize, store: ActorStore, place: str
) -> None:
    assert materialize("red", only=["base_image"]).success
    before = {
        path: path.read_bytes() for path in Path(store.root.path).rglob("*") if path.is_file()
    }
    if place == "run":
        message = failure(materialize("red", only=["base_image"], base_image={"width": 7}))
        assert message.endswith("It comes from the run's configuration.")
    else:
        yaml = Path(store.actor_dir("red").path) / "actor.yaml"
        before[yaml] = (yaml.read_text() + "settings: {base_image: {width: 7}}\n").encode()
        yaml.write_bytes(before[yaml])
        message = failure(materialize("red", only=["base_image"]))
        assert message.endswith("It comes from actor.yaml of red (settings: base_image: width).")
    assert message.startswith(
        "width = 7 is not usable: Input should be greater than or equal to 16."
    )
    assert "Set width (width in pixels) to a value >= 16, <= 512; the default is 64." in message
    assert before == {
        path: path.read_bytes() for path in Path(store.root.path).rglob("*") if path.is_file()
    }


def test_an_unknown_setting_names_those_that_exist(
    materialize: Materialize, store: ActorStore
) -> None:
    yaml = Path(store.actor_dir("red").path) / "actor.yaml"
    yaml.write_text(yaml.read_text() + "settings: {base_image: {widht: 64}}\n")
    assert "there is no setting 'widht'. Settings: width, gain." in failure(
        materialize("red", only=["base_image"])
    )


def test_a_bad_photograph_fails_once_and_stops_the_chain(
    materialize: Materialize, store: ActorStore
) -> None:
    photo = Path(store.actor_dir("red").path) / "photos" / "01.png"
    photo.write_text("not a picture")
    result = materialize("red")
    assert not result.success
    assert failure(result).startswith("01.png is not a picture that can be read")
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    with pytest.raises(StoreError):
        store.current("red", "base_image")


def test_downstream_without_upstream_tells_what_to_materialize_first(
    materialize: Materialize,
) -> None:
    message = failure(materialize("red", only=["training_variations"]))
    assert "red has no base_image yet. Materialize it first: dagster asset materialize" in message


def test_a_run_records_the_versions_it_consumed(
    materialize: Materialize, store: ActorStore
) -> None:
    assert materialize("red").success
    base = store.current("red", "base_image")
    later = store.current("red", "training_variations")
    assert set(base.inputs) == {"actor_spec", "actor_photos"}
    assert later.inputs == {**base.inputs, "base_image": base.digest}
