"""Checks: an error stops what comes after, for that actor only; a warning does not; what was not
assessed is no pass.
"""

from __future__ import annotations

import dagster as dg
import pytest

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.faces.check import Check
from avatar_pipeline.orchestration.checks import check_results
from avatar_pipeline.orchestration.failures import step_error
from avatar_pipeline.orchestration.registration import register
from tests.support.small_chain import CHAIN, Materialize, add_actor


def test_an_error_blocks_downstream_of_that_actor_only(
    materialize: Materialize, store: ActorStore, instance: dg.DagsterInstance
) -> None:
    add_actor(store, "dark", "black")
    register(instance, store)
    assert materialize("red").success
    result = materialize("dark")
    assert not result.success
    made = [
        event.asset_key.to_user_string()
        for event in result.get_asset_materialization_events()
        if event.asset_key
    ]
    assert made == ["base_image", "face_validation"]
    assert store.current("dark", "face_validation").digest, "the report that says why is there"

    key = dg.AssetCheckKey(dg.AssetKey("face_validation"), "light")
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
    assert {(record.partition, record.status.value) for record in history} == {
        ("red", "SUCCEEDED"),
        ("dark", "FAILED"),
    }
    assert materialize("red").success, "another actor's error must not stop this one"


def test_severities_and_reasons(
    materialize: Materialize, store: ActorStore, instance: dg.DagsterInstance
) -> None:
    register(instance, store)
    result = materialize("red")
    found = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert found["light"].passed
    assert (found["sharp"].passed, found["sharp"].severity) == (False, dg.AssetCheckSeverity.WARN)
    assert found["sharp"].description == "fix it"
    assert found["sharp"].metadata["threshold"].value == ">= 2"
    assert (found["glasses"].passed, found["glasses"].severity) == (
        False,
        dg.AssetCheckSeverity.WARN,
    )
    assert found["glasses"].description == "Not assessed: fix it"


def test_a_check_that_was_not_promised_is_a_mistake_in_the_chain() -> None:
    check = Check("surprise", 1.0, ">= 2", "px", "error", "a test", "fix it")
    with pytest.raises(
        ValueError, match="face_validation reports checks that chain.py does not promise: surprise"
    ):
        check_results(CHAIN[1], [check], "red")


def test_a_promised_check_that_is_missing_is_no_pass() -> None:
    results = check_results(CHAIN[1], [], "red")
    assert [result.passed for result in results] == [False, False, False]
    assert {result.severity for result in results} == {dg.AssetCheckSeverity.WARN}


def test_a_verdict_names_its_actor_as_the_graph_shows_the_last_one_whosever_it_is(
    materialize: Materialize, store: ActorStore, instance: dg.DagsterInstance
) -> None:
    register(instance, store)
    found = materialize("blue").get_asset_check_evaluations()
    assert {check.metadata["actor"].value for check in found} == {"blue"}


def test_a_run_of_several_actors_is_refused_before_anything_is_made(
    small_defs: dg.Definitions, store: ActorStore, instance: dg.DagsterInstance
) -> None:
    """Their checks would stop one another."""
    register(instance, store)
    result = small_defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        tags={
            "dagster/asset_partition_range_start": "blue",
            "dagster/asset_partition_range_end": "red",
        },
        asset_selection=[dg.AssetKey("base_image")],
        raise_on_error=False,
    )
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert "a run makes one" in step_error(failed)
    assert not any(store.has(name, "base_image") for name in ("red", "blue"))
