"""The job `batch`: many actors in one process, one after the other, with one set of loaded tools.

Each actor has a Dagster run of its own, of the main job, with its own log, checks, lineage and
retries; what they share is the process and the models in it. A run that fails is reported and the
next one starts; the batch fails at its end when any of them did.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of the op.

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import AvatarPipelineError
from avatar_pipeline.orchestration.dagster_patches.interrupts import noticed_interrupts
from avatar_pipeline.orchestration.jobs.batch_progress import (
    BatchProgress,
    Report,
    batch_metadata,
    summary,
)
from avatar_pipeline.orchestration.loggers import chosen_logger
from avatar_pipeline.orchestration.registration import register
from avatar_pipeline.orchestration.resources import StoreResource, ToolsResource
from avatar_pipeline.orchestration.runs import RunOptions, RunOutcome, run_actor
from avatar_pipeline.orchestration.tags import KEEP_UNCHANGED_TAG
from avatar_pipeline.pipeline.registry import STAGES

BATCH_TAG = "avatar_pipeline/batch"  # on each actor's run: the id of the batch's
# Dagster's own: "Re-execute from failure" in the UI, and automatic retries, set the first two.
RESUME_TAG, PARENT_TAG, PARTITION_TAG = (
    "dagster/is_resume_retry",
    "dagster/parent_run_id",
    "dagster/partition",
)


class BatchConfig(dg.Config):
    """What the launchpad shows."""

    actors: list[str] = Field(
        default=[],
        description="The actors to make, by name, in this order. Required: "
        "`avatar-pipeline batch` can choose them.",
    )
    only: list[str] = Field(
        default=[], description=f"Only these assets: {', '.join(STAGES)}. Empty: all."
    )
    keep_unchanged: bool = Field(
        default=False,
        description="Keep what is up to date and make the rest, so that a batch that was ended "
        "goes on where it stopped.",
    )
    settings: dict[str, Any] = Field(
        default={},
        description="By asset: settings that beat actor.yaml, such as "
        "{lora: {max_train_steps: 40}}, for every actor.",
    )


def batch_job(
    avatar_job: Callable[[], dg.JobDefinition],
    report: Report | None = None,
    logger: str | None = None,
) -> dg.JobDefinition:
    """Return the job. avatar_job: gives the main job. report: is called with each actor's end,
    and the seconds that are left, beside the log.

    logger: which prints what the actors' runs say, beside their event logs; chosen_logger when
    None.
    """

    @dg.op(
        name="make_actors",
        out=dg.Out(dg.Nothing),
        description="Makes every actor in a run of its own; see their table in the metadata.",
    )
    def batch(
        context: dg.OpExecutionContext,
        config: BatchConfig,
        store: StoreResource,
        tools: ToolsResource,
    ) -> Iterator[dg.Output]:
        _check(config)
        began = time.monotonic()
        done: list[BatchProgress] = []

        def tell(actor: BatchProgress) -> None:
            done.append(actor)
            left = (time.monotonic() - began) / len(done) * (actor.total - len(done))
            log = context.log.error if actor.verdict == "failed" else context.log.info
            log(actor.line(left))
            if report is not None:
                report(actor, left)

        with noticed_interrupts() as interrupted, tools.lent(tools.open()):
            _make(
                context,
                config,
                store.open(),
                avatar_job(),
                logger or chosen_logger(),
                interrupted,
                tell,
            )
            if interrupted() or (done and done[-1].verdict == "cancelled"):
                _end_cancelled(context, len(done), len(config.actors))
        metadata = batch_metadata(done)
        if failed := [actor for actor in done if actor.problems]:
            raise dg.Failure(
                description=summary(failed, len(done)), metadata=metadata, allow_retries=False
            )
        yield dg.Output(None, metadata=metadata)

    @dg.job(
        name="batch",
        description="Many actors, one after the other in one process, so that each model is "
        "loaded once for all of them. Each actor has a "
        f"run of its own in the job `avatar`; find them by the tag {BATCH_TAG}.",
    )
    def job() -> None:
        batch.alias("batch")()  # the definition may not be called like the job

    return job


def _check(config: BatchConfig) -> None:
    """Raise dg.Failure for what no actor could be made with."""
    if not config.actors:
        raise dg.Failure(
            "No actors are given. Set ops.batch.config.actors to a list of names, such as [anna, "
            "ben], or let the command choose: "
            "avatar-pipeline batch --all",
            allow_retries=False,
        )
    if unknown := [asset for asset in (*config.only, *config.settings) if asset not in STAGES]:
        raise dg.Failure(
            f"There is no asset {unknown[0]!r}. Assets: {', '.join(STAGES)}.", allow_retries=False
        )


def _make(
    context: dg.OpExecutionContext,
    config: BatchConfig,
    store: ActorStore,
    job: dg.JobDefinition,
    logger: str,
    interrupted: Callable[[], bool],
    tell: Callable[[BatchProgress], None],
) -> None:
    """Make the actors until all are reported or a signal comes."""
    before = _made_before(context.instance, context.run)
    tags = {BATCH_TAG: context.run.run_id} | (
        {KEEP_UNCHANGED_TAG: "true"} if config.keep_unchanged else {}
    )
    actors = [actor for actor in dict.fromkeys(config.actors) if actor not in before]
    if before:
        context.log.info(
            f"Goes on with {len(actors)} actors; made by the batch that this one resumes: "
            f"{', '.join(sorted(before))}."
        )
    # The actors' runs record the batch's configuration of the tools, so that one that is executed
    # again by itself uses the same.
    run_config: Mapping[str, Any] = context.run.run_config
    configured = run_config.get("resources", {}).get("tools", {}).get("config", {})
    for number, actor in enumerate(actors, 1):
        if interrupted():
            return
        began = time.monotonic()
        outcome: RunOutcome | None = None
        try:
            store.spec(actor)  # what is no actor is not registered
            register(context.instance, store, only=[actor])
            outcome = run_actor(
                job,
                context.instance,
                store,
                actor,
                RunOptions(config.only, config.settings, configured, logger, tags),
                interrupted=interrupted,
            )
            problems = outcome.problems
        except AvatarPipelineError as error:
            problems = [str(error)]
        except Exception as error:
            # whatever it is, it is this actor's: the others are still to be made
            context.log.exception(f"{actor} could not be run")
            problems = [f"{type(error).__name__}: {error}"]
        tell(BatchProgress(actor, number, len(actors), time.monotonic() - began, outcome, problems))
        if outcome is not None and outcome.cancelled:
            return


def _made_before(instance: dg.DagsterInstance, run: dg.DagsterRun) -> set[str]:
    """Return the actors that the batches made that this one resumes: those before it in a chain of
    re-executions from failure.
    """
    made: set[str] = set()
    before: dg.DagsterRun | None = run
    while before is not None and before.tags.get(RESUME_TAG) == "true":
        before = instance.get_run_by_id(before.tags.get(PARENT_TAG, ""))
        if before is not None:
            succeeded = dg.RunsFilter(
                statuses=[dg.DagsterRunStatus.SUCCESS], tags={BATCH_TAG: before.run_id}
            )
            made |= {child.tags[PARTITION_TAG] for child in instance.get_runs(succeeded)}
    return made


def _end_cancelled(context: dg.OpExecutionContext, done: int, total: int) -> None:
    """End the batch's own run as a cancelled one, whether the request came from the UI or as a
    signal.
    """
    context.log.warning(
        f"Cancelled after {done} of {total} actors. Re-execute it from failure to go on from here."
    )
    run = context.instance.get_run_by_id(context.run.run_id)
    if run is not None and run.status == dg.DagsterRunStatus.STARTED:
        context.instance.report_run_canceling(run, "A signal asked this process to stop.")
    raise dg.DagsterExecutionInterruptedError
