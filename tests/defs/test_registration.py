"""Registration is idempotent; an actor with a problem is registered, and the problem told; the sensor does the same."""

from __future__ import annotations

import dagster as dg

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.defs.registration import register
from avatar_pipeline.defs.resources import StoreResource
from avatar_pipeline.defs.sensors import actors_sensor
from tests.defs.conftest import add_actor


def test_registers_once(instance: dg.DagsterInstance, store: ActorStore) -> None:
    first = register(instance, store)
    assert first.added == ["blue", "red"]
    assert {asset for _, asset in first.changed} >= {"actor_spec", "actor_photos"}
    again = register(instance, store)
    assert (again.added, again.changed) == ([], [])
    assert sorted(instance.get_dynamic_partitions("actors")) == ["blue", "red"]


def test_an_actor_with_a_problem_does_not_stop_the_others(instance: dg.DagsterInstance, store: ActorStore) -> None:
    folder = add_actor(store, "broken", None)
    (folder / "actor.yaml").write_text("description: person\nlikeness: synthetic\n")
    real = add_actor(store, "real", "white")
    (real / "actor.yaml").write_text((real / "actor.yaml").read_text().replace("synthetic", "real"))
    done = register(instance, store)
    assert done.added == ["blue", "broken", "real", "red"]
    assert "actor.yaml" in done.problems["broken"]
    assert "consent" in done.problems["real"]
    assert "red" not in done.problems or "model" in done.problems["red"]
    assert ("real", "actor_photos") not in done.changed, "nothing of a real person is read before there is consent"


def test_the_sensor_registers_and_asks_for_no_run(instance: dg.DagsterInstance, store: ActorStore) -> None:
    context = dg.build_sensor_context(instance=instance, resources={"store": StoreResource()})
    answer = actors_sensor(context)
    assert isinstance(answer, dg.SkipReason)
    assert "2 new actors" in str(answer.skip_message)
    assert sorted(instance.get_dynamic_partitions("actors")) == ["blue", "red"]
    assert actors_sensor.default_status == dg.DefaultSensorStatus.STOPPED
