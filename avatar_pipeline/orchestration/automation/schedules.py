"""Every night the actors that are due, every week the exports that were judged longest ago: so many
each time, and no more.
"""

from __future__ import annotations

import os
import time

import dagster as dg

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import AvatarPipelineError, StoreError
from avatar_pipeline.orchestration.inputs import ACTORS, observed_versions
from avatar_pipeline.orchestration.jobs.revalidation import JUDGED, revalidate_job
from avatar_pipeline.orchestration.resources import StoreResource
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.staleness import stale_assets

NIGHTLY, WEEKLY = "AVATAR_NIGHTLY_ACTORS", "AVATAR_WEEKLY_EXPORTS"
BUDGETS = {
    NIGHTLY: 20,
    WEEKLY: 200,
}  # actors a night: a few hours with the embedded model; exports a week: about two seconds each
SEARCH_TIMEOUT_S = (
    30.0  # seconds a schedule may look for stale actors: Dagster ends its evaluation after 60
)


def budget(variable: str) -> int:
    """Return how many actors a schedule may take at a time, from the environment. Raises StoreError
    for what is no number above 0.
    """
    text = os.environ.get(variable) or str(BUDGETS[variable])
    if not text.isdecimal() or int(text) < 1:
        raise StoreError(
            f"The environment variable {variable} is {text!r}. Set it to how many "
            "actors at a time, such as 20."
        )
    return int(text)


def due_actors(
    instance: dg.DagsterInstance, store: ActorStore, limit: int, seconds: float = SEARCH_TIMEOUT_S
) -> list[str]:
    """Return up to `limit` registered actors of whom something is missing or stale, who waited
    longest first; who failed last time comes last.

    An actor waits since its newest asset was made, or since it was registered. What Dagster last
    saw of its inputs counts, and the manifests in the store; looking ends after `seconds`. Actors
    whose inputs cannot be used are left out: no run could fix that.
    """
    made = {
        asset: _latest(instance, asset, dg.DagsterEventType.ASSET_MATERIALIZATION)
        for asset in STAGES
    }
    observed = observed_versions(instance)
    failed = _failed(instance)
    actors = instance.get_dynamic_partitions(str(ACTORS.name))
    needed = {name for stage in STAGES.values() for name in stage.external}
    usable = [actor for actor in actors if all(actor in observed[name] for name in needed)]
    usable.sort(
        key=lambda actor: (actor in failed, max(ids.get(actor, 0) for ids in made.values()), actor)
    )
    end = time.monotonic() + seconds
    due: list[str] = []
    for actor in usable:
        if len(due) == limit:
            break
        if any(actor not in ids for ids in made.values()):
            due.append(actor)
        elif time.monotonic() < end:
            try:
                if stale_assets(
                    store, actor, {name: versions[actor] for name, versions in observed.items()}
                ):
                    due.append(actor)
            except AvatarPipelineError:  # the folder is gone: the sensor will unregister the actor
                continue
    return due


def exports_by_age(instance: dg.DagsterInstance, limit: int) -> list[str]:
    """Return up to `limit` registered actors with an export, those first whose export was made or
    judged longest ago.
    """
    made = _latest(instance, JUDGED[-1], dg.DagsterEventType.ASSET_MATERIALIZATION)
    judged = _latest(instance, JUDGED[-1], dg.DagsterEventType.ASSET_OBSERVATION)
    actors = [actor for actor in instance.get_dynamic_partitions(str(ACTORS.name)) if actor in made]
    return sorted(actors, key=lambda actor: (max(made[actor], judged.get(actor, 0)), actor))[:limit]


def refresh_request(
    instance: dg.DagsterInstance, store: ActorStore
) -> dg.RunRequest | dg.SkipReason:
    """Return one batch with the actors that are due."""
    actors = due_actors(instance, store, budget(NIGHTLY))
    if not actors:
        return dg.SkipReason("Every actor is up to date.")
    return dg.RunRequest(
        run_config={
            "ops": {"batch": {"config": {"actors": actors, "only": [], "keep_unchanged": True}}}
        }
    )


def revalidation_request(instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    """Return one run of `revalidate` with the exports that were judged longest ago."""
    actors = exports_by_age(instance, budget(WEEKLY))
    if not actors:
        return dg.SkipReason("There is no export yet.")
    return dg.RunRequest(run_config={"ops": {"revalidate": {"config": {"actors": actors}}}})


@dg.schedule(
    cron_schedule="0 2 * * *",
    job_name="batch",
    description="At 2 o'clock UTC: actors of whom something is missing or stale, at most "
    f"${NIGHTLY} (default {BUDGETS[NIGHTLY]}), "
    "who waited longest first, in one batch.",
)
def nightly_refresh(
    context: dg.ScheduleEvaluationContext, store: StoreResource
) -> dg.RunRequest | dg.SkipReason:
    """What automation missed: what changed while it was off, and once a night what failed."""
    return refresh_request(context.instance, store.open())


@dg.schedule(
    cron_schedule="0 4 * * 0",
    job=revalidate_job,
    description="Sundays at 4 o'clock UTC: judges stored exports by the present rules, at most "
    f"${WEEKLY} (default {BUDGETS[WEEKLY]}), "
    "those judged longest ago first. Makes nothing.",
)
def weekly_revalidation(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """The rules, their limits or the face analyzer may have changed since an export was made."""
    return revalidation_request(context.instance)


def _latest(instance: dg.DagsterInstance, asset: str, kind: dg.DagsterEventType) -> dict[str, int]:
    """Return by actor, the number of the asset's last event of a kind in the event log: numbers
    grow with time. One query.
    """
    return dict(
        instance.event_log_storage.get_latest_storage_id_by_partition(dg.AssetKey(asset), kind)
    )


def _failed(instance: dg.DagsterInstance) -> set[str]:
    """Return the actors of whom the last attempt at some asset came to nothing."""
    storage = instance.event_log_storage
    failed_of = storage.get_latest_asset_partition_materialization_attempts_without_materializations
    return {actor for asset in STAGES for actor in failed_of(dg.AssetKey(asset))}
