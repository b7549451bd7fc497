"""Make many actors in this process, with the job `batch`, and tell what came of each."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from avatar_pipeline.actors.consent.revoked import may_be_revoked
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.orchestration.definitions import avatar_job, defs
from avatar_pipeline.orchestration.failures import step_error
from avatar_pipeline.orchestration.inputs import observed_versions
from avatar_pipeline.orchestration.jobs.batch import batch_job
from avatar_pipeline.orchestration.jobs.batch_progress import BatchProgress, Report, summary
from avatar_pipeline.orchestration.loggers import chosen_logger
from avatar_pipeline.orchestration.pools import process_tag
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.staleness import missing_assets, stale_assets


@dataclass(frozen=True)
class BatchOutcome:
    """A finished batch. done: one entry for each actor that was reached. problems: the summary of
    those that failed, else empty.
    """

    run_id: str
    done: list[BatchProgress]
    problems: str
    cancelled: bool


def choose_actors(
    instance: dg.DagsterInstance,
    store: ActorStore,
    *,
    missing: bool,
    stale: bool,
    only: Sequence[str] = (),
) -> list[str]:
    """Return the actors of the store of which some asset (of `only`) is missing, or stale; sorted.

    Those whose consent was revoked, or may have been, are left out. Inputs are compared as Dagster
    last saw them: register the actors first.
    """
    wanted = {asset: stage for asset, stage in STAGES.items() if not only or asset in only}
    observed = observed_versions(instance) if stale else {}
    chosen = []
    for actor in store.names():
        if may_be_revoked(store.actor_dir(actor)):
            continue
        seen = {asset: versions[actor] for asset, versions in observed.items() if actor in versions}
        if (missing and missing_assets(store, actor, wanted)) or (
            stale and any(asset in wanted for asset in stale_assets(store, actor, seen))
        ):
            chosen.append(str(actor))
    return chosen


def run_batch(
    instance: dg.DagsterInstance,
    actors: Sequence[str],
    *,
    only: Sequence[str] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    tools: Mapping[str, Any] | None = None,
    keep_unchanged: bool = False,
    report: Report | None = None,
) -> BatchOutcome:
    """Make these actors, one after the other; `report` is called with each one's end and the
    seconds that are left.

    It is a run of the job `batch`, with a run of its own for each actor, as if it were launched in
    the UI.
    """
    done: list[BatchProgress] = []

    def tell(actor: BatchProgress, left: float) -> None:
        done.append(actor)
        if report is not None:
            report(actor, left)

    config = {
        "actors": list(actors),
        "only": list(only),
        "keep_unchanged": keep_unchanged,
        "settings": {asset: dict(values) for asset, values in (settings or {}).items()},
    }
    # where a program reads the lines, no bar is looked at
    logger = "silent" if chosen_logger() == "console" else chosen_logger()
    own = dg.Definitions(
        jobs=[batch_job(avatar_job, tell, logger)],
        resources=defs.resources,
        loggers=defs.loggers,
    )
    run_id = str(uuid.uuid4())
    result = own.resolve_job_def("batch").execute_in_process(
        run_id=run_id,
        tags=process_tag(run_id),
        run_config={
            "ops": {"batch": {"config": config}},
            "loggers": {logger: {}},
            **({"resources": {"tools": {"config": dict(tools)}}} if tools else {}),
        },
        instance=instance,
        raise_on_error=False,
    )
    failed = [actor for actor in done if actor.problems]
    cancelled = result.dagster_run.status == dg.DagsterRunStatus.CANCELED
    problems = summary(failed, len(done)) if failed and not cancelled else ""
    if not result.success and not cancelled and not problems:
        problems = (
            "\n".join(step_error(event) for event in result.all_events if event.is_step_failure)
            or "the batch failed"
        )
    return BatchOutcome(result.run_id, done, problems, cancelled)
