"""The sensor that keeps Dagster's picture of the actor store up to date, and the one that writes
down what failed.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

import dagster as dg

from avatar_pipeline.core.home import home_folder
from avatar_pipeline.orchestration.failures import step_error
from avatar_pipeline.orchestration.registration import in_one_line, register
from avatar_pipeline.orchestration.resources import StoreResource

# Seconds for reading and telling, after which a tick begins with no further actor: the rest follows
# in the next ticks, also of the first thousands. An event costs Dagster 10 to 100 ms on SQLite, and
# its daemon ends a sensor's tick after 60 s.
TICK_BUDGET_S = 2.0
MAX_PROBLEMS_SHOWN = 20  # problems in one tick's log; `avatar-pipeline register` prints them all


@dg.sensor(
    minimum_interval_seconds=30,
    description="Registers new actors, unregisters those whose folder is gone, observes changed "
    "specifications, photographs and models.",
)
def actors_sensor(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SkipReason:
    """It asks for no runs: the sensor `automation` does, for what this one has observed."""
    done = register(context.instance, store.open(), settle=True, seconds=TICK_BUDGET_S)
    for actor, problem in list(done.problems.items())[:MAX_PROBLEMS_SHOWN]:
        context.log.warning(f"{actor}: {in_one_line(actor, problem)}")
    for actor, lines in list(done.left_out_now.items())[:MAX_PROBLEMS_SHOWN]:
        context.log.warning(f"{actor}: not taken from photos/: {'; '.join(lines)}")
    for note in done.notes.values():
        context.log.info(note)
    facts = [
        f"{len(done.added)} new actors",
        *([f"{len(done.renamed)} renamed"] if done.renamed else []),
        f"{len(done.removed)} gone",
        f"{len(done.changed)} changed inputs",
        f"{len(done.problems)} with problems",
        *([f"still being copied: {', '.join(done.waiting)}"] if done.waiting else []),
        *([f"{done.later} more to read at the next tick"] if done.later else []),
    ]
    return dg.SkipReason(", ".join(facts) + ".")


FAILURES = "failures.log"  # in the home folder


@dg.run_failure_sensor(
    name="failures",
    minimum_interval_seconds=30,
    description=f"Writes one line for each failed run into {FAILURES} of the home folder and the "
    "daemon's log: who, what, why, what to do.",
)
def failures_sensor(context: dg.RunFailureSensorContext) -> None:
    """Of failures from the moment on when it is switched on."""
    line = failure_line(
        context.instance,
        context.dagster_run,
        str(context.failure_event.message or "it ended without a reason"),
    )
    context.log.error(line)
    path = home_folder() / FAILURES
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{line}\n".encode())  # one write: lines of several daemons do not mix
    finally:
        os.close(descriptor)


def failure_line(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str) -> str:
    """One line: time, actor, asset, why in the error's words, the run, what to do. message: why,
    where no step says so.
    """
    actor = run.tags.get("dagster/partition", "")
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.ASSET_CHECK_EVALUATION}
    events = [
        entry.dagster_event
        for entry in instance.all_logs(run.run_id, of_type=kinds)
        if entry.dagster_event
    ]
    checks = [
        event.asset_check_evaluation_data
        for event in events
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    errors = [
        check
        for check in checks
        if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR
    ]
    reasons = [
        f"{check.asset_key.to_user_string()}: check {check.check_name}: {check.description}"
        for check in errors
    ]
    judged = {check.asset_key.to_user_string() for check in errors}
    failed = [
        event
        for event in events
        if event.event_type == dg.DagsterEventType.STEP_FAILURE and event.step_key not in judged
    ]
    reasons += [f"{event.step_key}: {step_error(event)}" for event in failed]
    words = " ".join("; ".join(reasons or [message]).split())
    after = (
        f"Repair that, then: avatar-pipeline run {actor}"
        if actor
        else "Repair that, then launch it again"
    )
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z {actor or run.job_name}: {words} | run "
        f"{run.run_id} | {after}"
    )
