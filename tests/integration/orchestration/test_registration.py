"""Registration is idempotent; an actor with a problem is registered, and the problem told; the
sensor does the same.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from PIL import Image

from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.core.home import home_folder
from avatar_pipeline.orchestration.automation.sensors import actors_sensor
from avatar_pipeline.orchestration.registration import register
from avatar_pipeline.orchestration.resources import StoreResource
from tests.support.small_chain import Materialize, add_actor


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the registration's clock."""

    def move(seconds: float) -> None:
        now = time.time()
        monkeypatch.setattr(
            "avatar_pipeline.orchestration.registration.time",
            SimpleNamespace(time=lambda: now + seconds, monotonic=time.monotonic),
        )

    return move


def test_registers_once(instance: dg.DagsterInstance, store: ActorStore) -> None:
    first = register(instance, store)
    assert first.added == ["blue", "red"]
    assert {asset for _, asset in first.changed} >= {"actor_spec", "actor_photos"}
    again = register(instance, store)
    assert (again.added, again.changed) == ([], [])
    assert sorted(instance.get_dynamic_partitions("actors")) == ["blue", "red"]


def test_an_actor_with_a_problem_does_not_stop_the_others(
    instance: dg.DagsterInstance, store: ActorStore
) -> None:
    folder = add_actor(store, "broken", None)
    (folder / "actor.yaml").write_text("description: person\nlikeness: synthetic\n")
    real = add_actor(store, "real", "white")
    (real / "actor.yaml").write_text((real / "actor.yaml").read_text().replace("synthetic", "real"))
    done = register(instance, store)
    assert done.added == ["blue", "broken", "real", "red"]
    assert "actor.yaml" in done.problems["broken"]
    assert "consent" in done.problems["real"]
    assert "red" not in done.problems or "model" in done.problems["red"]
    assert ("real", "actor_photos") not in done.changed, (
        "nothing of a real person is read before there is consent"
    )


def test_the_sensor_registers_and_asks_for_no_run(
    instance: dg.DagsterInstance, store: ActorStore, later: Callable[[float], None]
) -> None:
    context = dg.build_sensor_context(instance=instance, resources={"store": StoreResource()})
    answer = actors_sensor(context)
    assert isinstance(answer, dg.SkipReason)
    assert "still being copied: blue, red" in str(answer.skip_message), (
        "their folders are a moment old"
    )
    later(11)
    answer = actors_sensor(context)
    assert isinstance(answer, dg.SkipReason)
    assert "2 new actors" in str(answer.skip_message)
    assert sorted(instance.get_dynamic_partitions("actors")) == ["blue", "red"]
    assert actors_sensor.default_status == dg.DefaultSensorStatus.STOPPED


def photos_of(store: ActorStore, actor: str) -> Path:
    return Path(store.actor_dir(actor).path) / "photos"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The actors whose files were read since."""
    names: list[str] = []
    spec = ActorStore.spec

    def noted(self: ActorStore, name: str) -> ActorSpec:
        names.append(name)
        return spec(self, name)

    monkeypatch.setattr(ActorStore, "spec", noted)
    return names


def test_an_unchanged_actor_is_not_read_again(
    instance: dg.DagsterInstance, store: ActorStore, opened: list[str]
) -> None:
    register(instance, store)
    assert set(opened) == {"blue", "red"}
    opened.clear()
    register(instance, store)
    assert opened == []
    os.utime(photos_of(store, "red") / "01.png", (1, 1))
    assert register(instance, store).changed == []
    assert set(opened) == {"red"}, "a new timestamp costs a look, and changes nothing"


@pytest.mark.parametrize("damage", ["lost", "cut", "of another store"])
def test_a_useless_index_costs_one_reading(
    instance: dg.DagsterInstance,
    store: ActorStore,
    opened: list[str],
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    register(instance, store)
    index = home_folder() / "actors.json"
    if damage == "lost":
        index.unlink()
    elif damage == "cut":
        index.write_bytes(index.read_bytes()[:-20])
    else:
        index.write_text(index.read_text().replace(str(store.root), "/elsewhere"))
    opened.clear()
    done = register(instance, store)
    assert (done.added, done.changed) == ([], [])
    assert set(opened) == {"blue", "red"}
    assert ("every actor is read once more" in caplog.text) == (damage != "lost")
    opened.clear()
    register(instance, store)
    assert opened == []


def test_a_photograph_that_is_being_copied_is_left_alone(
    instance: dg.DagsterInstance, store: ActorStore, later: Callable[[float], None]
) -> None:
    register(instance, store)
    whole = (photos_of(store, "red") / "01.png").read_bytes()
    target = photos_of(store, "red") / "02.png"
    target.write_bytes(whole[:40])
    os.utime(target, (1, 1))  # as cp -p and rsync -t do: the old time says nothing
    done = register(instance, store, settle=True)
    assert (done.waiting, done.changed) == (["red"], [])
    target.write_bytes(whole)
    assert register(instance, store, settle=True).waiting == ["red"]
    later(11)
    done = register(instance, store, settle=True)
    assert (done.waiting, done.changed) == ([], [("red", "actor_photos")])


def test_a_stalled_copy_is_known_by_its_missing_end(
    instance: dg.DagsterInstance, store: ActorStore, later: Callable[[float], None]
) -> None:
    register(instance, store)
    Image.new("RGB", (64, 64), "green").save(photos_of(store, "red") / "02.jpg")
    whole = (photos_of(store, "red") / "02.jpg").read_bytes()
    (photos_of(store, "red") / "02.jpg").write_bytes(whole[:-200])
    later(60)
    assert register(instance, store, settle=True).waiting == ["red"]
    later(700)
    assert register(instance, store, settle=True).changed == [("red", "actor_photos")], (
        "nobody is copying any more: it is damaged"
    )


def test_the_command_takes_what_is_there(instance: dg.DagsterInstance, store: ActorStore) -> None:
    register(instance, store)
    (photos_of(store, "red") / "02.png").write_bytes(b"\x89PNG half")
    assert register(instance, store).changed == [("red", "actor_photos")]


def test_temporary_names_are_nothing(
    instance: dg.DagsterInstance, store: ActorStore, opened: list[str]
) -> None:
    register(instance, store)
    opened.clear()
    for name in (".02.png.x8Fj2k", "02.png.part", "02.jpg.crdownload", "notes.txt"):
        (photos_of(store, "red") / name).write_bytes(b"half")
    done = register(instance, store, settle=True)
    assert (done.waiting, done.changed, opened) == ([], [], [])


def test_an_actor_who_is_gone_is_unregistered_and_nothing_else(
    instance: dg.DagsterInstance, store: ActorStore, materialize: Materialize
) -> None:
    register(instance, store)
    assert materialize("red").success
    elsewhere = Path(store.root.path).parent / "kept"
    shutil.move(Path(store.actor_dir("red").path), elsewhere)
    done = register(instance, store)
    assert done.removed == ["red"]
    assert instance.get_dynamic_partitions("actors") == ["blue"]
    assert instance.fetch_materializations(dg.AssetKey("base_image"), limit=5).records, (
        "the event log keeps what was made"
    )
    shutil.move(elsewhere, Path(store.actor_dir("red").path))
    again = register(instance, store)
    assert (again.added, again.changed) == (["red"], []), "back again, with the history that it had"


def test_a_folder_without_its_actor_yaml_is_a_problem_and_stays(
    instance: dg.DagsterInstance, store: ActorStore
) -> None:
    register(instance, store)
    (Path(store.actor_dir("red").path) / "actor.yaml").unlink()
    done = register(instance, store)
    assert done.removed == []
    assert "actor.yaml is missing" in done.problems["red"]


def test_a_disk_that_is_not_there_unregisters_nobody(
    instance: dg.DagsterInstance, store: ActorStore
) -> None:
    register(instance, store)
    root = Path(store.root.path)
    root.rename(root.parent / "away")
    with pytest.raises(StoreError, match="There is no folder .*AVATAR_DATA"):
        register(instance, store)
    root.mkdir()  # an empty mount point
    with pytest.raises(
        StoreError, match="holds no actor at all, and Dagster knows 2: nothing was unregistered"
    ):
        register(instance, store)
    assert sorted(instance.get_dynamic_partitions("actors")) == ["blue", "red"]
    assert register(instance, store, remove_many=True).removed == ["blue", "red"]


def test_most_actors_gone_at_once_is_not_believed(
    instance: dg.DagsterInstance, store: ActorStore
) -> None:
    for number in range(20):
        add_actor(store, f"many_{number}", None)
    register(instance, store)
    for number in range(15):
        shutil.rmtree(Path(store.actor_dir(f"many_{number}").path))
    with pytest.raises(StoreError, match="15 of the 22 actors that Dagster knows are gone"):
        register(instance, store)
    assert len(instance.get_dynamic_partitions("actors")) == 22


def test_nothing_of_a_real_person_is_opened_before_there_is_consent(
    instance: dg.DagsterInstance, store: ActorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    yaml = Path(store.actor_dir("red").path) / "actor.yaml"
    yaml.write_text(yaml.read_text().replace("synthetic", "real"))

    def touched(folder: object) -> None:
        pytest.fail("photos/ was looked into")

    monkeypatch.setattr("avatar_pipeline.actors.photos.photographs", touched)
    done = register(instance, store, only=["red"])
    assert "consent" in done.problems["red"]


def test_a_tick_ends_in_time_and_the_next_one_goes_on(
    instance: dg.DagsterInstance, store: ActorStore
) -> None:
    for number in range(20):
        add_actor(store, f"many_{number:02d}", None)
    first = register(instance, store, seconds=0)
    assert (len(first.added), first.later) == (10, 12)
    second = register(instance, store)
    assert (len(second.added), second.later) == (12, 0)


def test_an_object_store_is_swept_too(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    store = ActorStore(f"memory://{tmp_path.name}/actors")
    yaml = (
        "description: european 25 year old male with short brown hair\nlikeness: "
        "synthetic\nphotos: folder\n"
    )
    for actor in ("red", "blue"):
        (store.root / actor / "photos").mkdir(parents=True)
        (store.root / actor / "actor.yaml").write_text(yaml)
        (store.root / actor / "photos" / "01.jpg").write_bytes(b"\xff\xd8\xff\xda\xff\xd9")
    assert register(instance, store, settle=True).added == ["blue", "red"]
    assert register(instance, store, settle=True).changed == []
    (store.root / "red" / "photos" / "01.jpg").write_bytes(b"\xff\xd8\xff\xda.\xff\xd9")
    assert register(instance, store, settle=True).changed == [("red", "actor_photos")]
    store.root.fs.rm(f"{store.root.path}/red", recursive=True)
    assert register(instance, store, settle=True).removed == ["red"]


def test_what_is_not_taken_from_a_dropped_in_folder_is_named(
    instance: dg.DagsterInstance,
    store: ActorStore,
    later: Callable[[float], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    photos = photos_of(store, "red")
    (photos / "IMG_1.DNG").write_bytes(b"II*\0")
    (photos / "more").mkdir()
    (photos / "more" / "a.jpg").write_bytes(b"\xff\xd8\xff")
    expected = [
        "IMG_1.DNG is a camera's raw file, which is not read: develop it, and export it as JPEG",
        "more/ is a folder with 1 photographs, of which none is taken: move them up, or name that "
        "folder",
    ]
    done = register(instance, store)
    assert done.left_out == {"red": expected}
    assert "red" not in done.problems or "photographs" not in done.problems["red"]
    assert register(instance, store).left_out == done.left_out, "of an unchanged actor, too"
    (photos / "IMG_2.DNG").write_bytes(b"II*\0")
    later(11)
    context = dg.build_sensor_context(instance=instance, resources={"store": StoreResource()})
    actors_sensor(context)
    later(11)
    actors_sensor(context)
    assert "red: not taken from photos/: IMG_1.DNG is a camera's raw file" in capfd.readouterr().err
