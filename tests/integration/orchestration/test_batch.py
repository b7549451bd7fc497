"""The job `batch`: a run for each actor, one set of tools, and what becomes of it when an actor, a
signal or a kill gets in its way.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.orchestration.home import TEMPLATE
from avatar_pipeline.orchestration.inputs import ACTORS
from avatar_pipeline.orchestration.jobs.batch import BATCH_TAG
from avatar_pipeline.orchestration.jobs.batch_progress import BatchProgress
from avatar_pipeline.orchestration.pools import free_slots_of_dead_runs
from avatar_pipeline.pipeline.models import Models
from tests.support.batches import HOLD, batch_defs, execute
from tests.support.small_chain import add_actor
from tests.support.warm import WarmProcess

Status = dg.DagsterRunStatus


def statuses(instance: dg.DagsterInstance) -> dict[str, Status]:
    """Of the actors' runs, by actor."""
    return {
        run.tags["dagster/partition"]: run.status
        for run in instance.get_runs(dg.RunsFilter(job_name="avatar"))
    }


def test_the_code_location_loads_as_the_ui_loads_it() -> None:
    """All at once: a job and its op may not share a definition's name."""
    assert {job.name for job in batch_defs().get_repository_def().get_all_jobs()} >= {
        "avatar",
        "batch",
    }


def test_a_failing_actor_stops_no_other(store: ActorStore, instance: dg.DagsterInstance) -> None:
    add_actor(store, "black", "black")  # the small chain refuses dark pictures
    (Path(store.actor_dir("blue").path) / "actor.yaml").write_text("description: [")
    told: list[BatchProgress] = []
    result = execute(
        instance, ["black", "blue", "nobody", "red", "red"], lambda done, left: told.append(done)
    )
    assert not result.success
    assert statuses(instance) == {"black": Status.FAILURE, "red": Status.SUCCESS}
    assert (
        store.current("red", "lora").run_id
        == instance.get_runs(dg.RunsFilter(tags={"dagster/partition": "red"}))[0].run_id
    )
    assert {run.tags[BATCH_TAG] for run in instance.get_runs(dg.RunsFilter(job_name="avatar"))} == {
        result.run_id
    }
    # what is no actor is not registered
    assert instance.get_dynamic_partitions(str(ACTORS.name)) == ["black", "red"]
    assert [(done.actor, done.number, done.total, done.verdict) for done in told] == [
        ("black", 1, 4, "failed"),
        ("blue", 2, 4, "failed"),
        ("nobody", 3, 4, "failed"),
        ("red", 4, 4, "pass, 1 warning"),
    ]
    (failure,) = [
        event.step_failure_data.user_failure_data
        for event in result.all_events
        if event.is_step_failure
    ]
    assert failure is not None and failure.description is not None
    lines = failure.description.splitlines()
    assert lines[0] == "3 of 4 actors failed; the others are made."
    assert lines[1].startswith("black: face_validation: light")
    assert "actor.yaml cannot be read as YAML" in lines[2]
    assert lines[3].startswith("nobody: There is no actor 'nobody'")
    table = failure.metadata["actors_table"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [(row.data["actor"], row.data["verdict"]) for row in table.records][-1] == (
        "red",
        "pass, 1 warning",
    )
    assert "failed black" in failure.metadata  # a link to its run
    log = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert any(line.startswith("4 of 4  red: pass, 1 warning") for line in log)


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Models]]:
    """The tools that were made and closed, in order."""
    seen: dict[str, list[Models]] = {"made": [], "closed": []}
    make, close = Models.__init__, Models.close

    def counted_make(self: Models, *rest: Any, **named: Any) -> None:
        seen["made"].append(self)
        make(self, *rest, **named)

    def counted_close(self: Models) -> None:
        seen["closed"].append(self)
        close(self)

    monkeypatch.setattr(Models, "__init__", counted_make)
    monkeypatch.setattr(Models, "close", counted_close)
    return seen


def test_one_set_of_tools_serves_all_and_is_closed_once(
    store: ActorStore, instance: dg.DagsterInstance, tools: dict[str, list[Models]]
) -> None:
    result = execute(instance, ["red", "blue"], only=["base_image"])
    assert result.success
    assert statuses(instance) == {"red": Status.SUCCESS, "blue": Status.SUCCESS}
    assert len(tools["made"]) == 1
    assert tools["closed"] == tools["made"]
    assert [len(store.versions(actor, "face_validation")) for actor in ("red", "blue")] == [0, 0]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"actors": []}, "No actors are given. Set ops.batch.config.actors"),
        (
            {"actors": ["red"], "only": ["portrait"]},
            "There is no asset 'portrait'. Assets: photo_intake",
        ),
        ({"actors": ["red"], "settings": {"loras": {"steps": 1}}}, "There is no asset 'loras'"),
    ],
)
def test_what_no_actor_could_be_made_with(
    store: ActorStore, instance: dg.DagsterInstance, config: dict[str, Any], words: str
) -> None:
    actors = config.pop("actors")
    result = execute(instance, actors, **config)
    (failure,) = [
        event.step_failure_data.user_failure_data
        for event in result.all_events
        if event.is_step_failure
    ]
    assert failure is not None and words in str(failure.description)
    assert statuses(instance) == {}


def test_the_settings_of_the_batch_reach_every_actor(
    store: ActorStore, instance: dg.DagsterInstance
) -> None:
    assert execute(
        instance, ["red", "blue"], settings={"base_image": {"width": 256}}, only=["base_image"]
    ).success
    assert [store.current(actor, "base_image").settings["width"] for actor in ("red", "blue")] == [
        256,
        256,
    ]
    failed = execute(
        instance, ["red"], settings={"base_image": {"width": "wide"}}, only=["base_image"]
    )
    assert not failed.success


def test_a_batch_that_is_resumed_goes_on_with_what_is_left(
    store: ActorStore, instance: dg.DagsterInstance
) -> None:
    """What "Re-execute from failure" in the UI does, and the automatic retry of a run that
    crashed.
    """
    photograph = Path(add_actor(store, "black", "black") / "photos" / "01.png")
    first = execute(instance, ["red", "black", "blue"])
    assert not first.success
    photograph.write_bytes((Path(store.actor_dir("red").path) / "photos" / "01.png").read_bytes())
    resumes = {"dagster/is_resume_retry": "true", "dagster/parent_run_id": first.run_id}
    again = execute(instance, ["red", "black", "blue"], tags=resumes)
    assert again.success
    third = execute(
        instance, ["red", "black", "blue"], tags={**resumes, "dagster/parent_run_id": again.run_id}
    )
    assert third.success

    def made_by(batch: dg.ExecuteInProcessResult) -> set[str]:
        return {
            run.tags["dagster/partition"]
            for run in instance.get_runs(dg.RunsFilter(tags={BATCH_TAG: batch.run_id}))
        }

    assert [made_by(batch) for batch in (first, again, third)] == [
        {"red", "black", "blue"},
        {"black"},
        set(),
    ]


def test_a_signal_that_dagster_forgets_stops_the_batch(
    store: ActorStore, instance: dg.DagsterInstance
) -> None:
    """It comes while the first actor's run writes its last event, where no code of ours runs that
    it could interrupt.
    """
    run_ids: list[str] = []
    handle = instance.handle_new_event

    def handle_and_signal(entry: dg.EventLogEntry, **rest: object) -> None:
        handle(entry, **rest)  # type: ignore[arg-type]
        event = entry.dagster_event
        if (
            event is not None
            and event.event_type == dg.DagsterEventType.RUN_SUCCESS
            and entry.run_id not in run_ids
        ):
            run_ids.append(entry.run_id)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instance, "handle_new_event", handle_and_signal)
        result = execute(instance, ["red", "blue"])
    assert statuses(instance) == {"red": Status.SUCCESS}
    assert result.dagster_run.status == Status.CANCELED


@pytest.fixture
def held(
    store: ActorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WarmProcess]:
    """A batch of blue, red, green in a process of its own, that has made blue and works on red."""
    add_actor(store, "green", "green")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_bytes(TEMPLATE.read_bytes())
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    process = WarmProcess(
        ["-m", "tests.support.batches", "blue", "red", "green"],
        environment={**os.environ, HOLD: "red"},
    )
    try:
        for _ in range(1200):
            if (tmp_path / "actors" / "red" / "held").exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        assert process.poll() is None
        yield process
    finally:
        process.end()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_actor_and_the_batch(
    held: WarmProcess, store: ActorStore, sent: signal.Signals
) -> None:
    held.send_signal(sent)
    assert held.wait(timeout=60) is not None
    with dg.DagsterInstance.get() as instance:
        assert statuses(instance) == {"blue": Status.SUCCESS, "red": Status.CANCELED}
        (run,) = instance.get_runs(dg.RunsFilter(job_name="batch"))
        assert run.status == Status.CANCELED
    assert [len(store.versions("red", asset)) for asset in ("base_image", "lora")] == [1, 0]


def test_a_killed_batch_leaves_no_run_under_way(held: WarmProcess, store: ActorStore) -> None:
    held.kill()
    held.wait()
    with dg.DagsterInstance.get() as instance:
        assert statuses(instance) == {"blue": Status.SUCCESS, "red": Status.STARTED}
        free_slots_of_dead_runs(instance)
        assert statuses(instance) == {"blue": Status.SUCCESS, "red": Status.FAILURE}
        assert execute(instance, ["red", "green"]).success  # and the same actors can be made
        assert {statuses(instance)[actor] for actor in ("blue", "green")} == {Status.SUCCESS}
