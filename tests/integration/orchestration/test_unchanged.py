"""A run that may keep what is unchanged does no work for it, records it again, and lets no failed
check pass.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.orchestration.registration import register
from avatar_pipeline.orchestration.tags import KEEP_UNCHANGED_TAG
from tests.support.small_chain import CHAIN, add_actor

Run = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def keeping(small_defs: dg.Definitions, instance: dg.DagsterInstance, store: ActorStore) -> Run:
    """A run with the tag: keeping("red", base_image={"width": 32})."""

    def run(actor: str, **settings: dict[str, object]) -> dg.ExecuteInProcessResult:
        return small_defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            partition_key=actor,
            run_config={"ops": {asset: {"config": values} for asset, values in settings.items()}},
            tags={KEEP_UNCHANGED_TAG: "true"},
            raise_on_error=False,
        )

    return run


@pytest.fixture(autouse=True)
def red_made(instance: dg.DagsterInstance, store: ActorStore, keeping: Run) -> None:
    register(instance, store)
    assert kept(keeping("red")) == set(), "what is missing is made"


def kept(result: dg.ExecuteInProcessResult) -> set[str]:
    """The assets that were recorded again without work."""
    return {
        event.asset_key.to_user_string()
        for event in result.get_asset_materialization_events()
        if event.asset_key and "kept_unchanged" in event.materialization.metadata
    }


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    return {
        e.check_name: (e.passed, e.severity, e.description, e.metadata)
        for e in result.get_asset_check_evaluations()
    }


ALL = {stage.name for stage in CHAIN}


def edit(store: ActorStore, change: Callable[[str], str]) -> None:
    yaml = Path(store.actor_dir("red").path) / "actor.yaml"
    yaml.write_text(change(yaml.read_text()))


def test_nothing_changed_keeps_all_and_reports_as_before(
    keeping: Run, store: ActorStore, instance
) -> None:
    first = verdicts(keeping("red", base_image={"width": 32}))
    before = {asset: store.current("red", asset) for asset in ALL}
    result = keeping("red", base_image={"width": 32})
    assert result.success
    assert kept(result) == ALL
    assert {asset: store.current("red", asset) for asset in ALL} == before
    assert verdicts(result) == first
    (event,) = result.asset_materializations_for_node("base_image")
    assert event.tags is not None
    assert event.tags["dagster/data_version"] == before["base_image"].digest
    assert "data:image/jpeg;base64," in str(event.metadata["picture"].value), (
        "the picture is still shown"
    )


def test_one_asset_s_settings_in_actor_yaml_make_it_and_what_reads_it(
    keeping: Run, store: ActorStore, instance, statuses
) -> None:
    add = "settings: {training_variations: {}}\n"
    edit(store, lambda text: text + add)
    assert register(instance, store, only=["red"]).changed == [("red", "actor_spec")]
    assert set(statuses("red").values()) == {"STALE"}
    assert kept(keeping("red")) == ALL, "the same settings, said in another way"
    assert set(statuses("red").values()) == {"FRESH"}
    edit(store, lambda text: text.replace(add, "settings: {base_image: {gain: 2.0}}\n"))
    assert kept(keeping("red")) == {"face_validation", "training_variations"}, (
        "the picture came out the same"
    )
    edit(store, lambda text: text.replace("gain: 2.0", "width: 32"))
    assert kept(keeping("red")) == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("brown", "black"),
        ("seed: 7", "seed: 8"),
        ("seed: 7", "preset: sd15\nseed: 7"),
        ("seed: 7", "framing: headshot"),
    ],
)
def test_what_is_said_of_the_person_makes_all_again(
    keeping: Run, store: ActorStore, old: str, new: str
) -> None:
    edit(store, lambda text: text.replace(old, new))
    result = keeping("red")
    assert "base_image" not in kept(result)
    assert not kept(result)


def test_a_drawn_seed_stands_until_actor_yaml_says_another(keeping: Run, store: ActorStore) -> None:
    edit(store, lambda text: text.replace("seed: 7", "seed: -1"))
    assert kept(keeping("red")) == set()
    drawn = store.current("red", "base_image").root_seed
    assert kept(keeping("red")) == ALL
    assert store.current("red", "base_image").root_seed == drawn
    edit(store, lambda text: text.replace("seed: -1", "seed: 9"))
    assert kept(keeping("red")) == set()


def test_a_changed_photograph_a_setting_of_the_run_and_a_damaged_file_make_again(
    keeping: Run, store: ActorStore
) -> None:
    Image.new("RGB", (32, 32), "green").save(
        Path(store.actor_dir("red").path) / "photos" / "00.png"
    )
    assert kept(keeping("red")) == set()
    assert kept(keeping("red", base_image={"width": 32})) == set()
    assert kept(keeping("red", base_image={"width": 32})) == ALL
    version = store.current("red", "training_variations").digest
    (
        Path(store.actor_dir("red").path)
        / "versions"
        / "training_variations"
        / version
        / "0001.png"
    ).write_bytes(b"altered")
    assert kept(keeping("red", base_image={"width": 32})) == {"base_image", "face_validation"}


def test_a_failed_check_that_is_kept_still_blocks(
    keeping: Run, store: ActorStore, instance
) -> None:
    add_actor(store, "dark", "black")
    register(instance, store)
    assert not keeping("dark").success
    result = keeping("dark")
    assert kept(result) == {"base_image", "face_validation"}
    assert not result.success
    (light,) = [e for e in result.get_asset_check_evaluations() if e.check_name == "light"]
    assert (light.passed, light.severity) == (False, dg.AssetCheckSeverity.ERROR)


def test_without_the_tag_all_is_made(materialize, keeping: Run) -> None:
    assert kept(materialize("red")) == set()


def test_consent_that_ended_ends_keeping_too(keeping: Run, store: ActorStore) -> None:
    edit(store, lambda text: text.replace("synthetic", "real"))
    result = keeping("red")
    assert not result.success
    assert not kept(result)
