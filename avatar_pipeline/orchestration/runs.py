"""Runs of the main job for one actor, executed in this process: `avatar-pipeline run` makes one,
the jobs `batch` and `service` one for each of their actors.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.words import count
from avatar_pipeline.history.versions import verdict_of
from avatar_pipeline.orchestration.failures import step_error
from avatar_pipeline.orchestration.pools import process_tag
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.settings import resolve_settings

Settings = Mapping[str, Mapping[str, Any]]  # by asset: what overrides actor.yaml


@dataclass(frozen=True)
class Row:
    """One asset of a run. manifest: what it made, None when it made nothing. verdict: its worst
    check, or why there is none.

    warnings: how many checks gave a warning; those that were not assessed are none.
    """

    asset: str
    manifest: Manifest | None
    verdict: str
    warnings: int = 0


@dataclass(frozen=True)
class RunOutcome:
    """A finished run. problems: what went wrong, in the words of the errors and checks; empty after
    a success. seconds: wall time.
    """

    run_id: str
    rows: list[Row]
    problems: list[str]
    cancelled: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class RunOptions:
    """How a run differs from the main job's own.

    only: the assets to make; all of the job's when empty. settings: by asset, what overrides
    actor.yaml. tools: configuration of the resource `tools`. logger: which prints the run's lines,
    beside the event log. tags: of the run.
    """

    only: Sequence[str] = ()
    settings: Settings = field(default_factory=dict)
    tools: Mapping[str, Any] = field(default_factory=dict)
    logger: str = "console"
    tags: Mapping[str, str] = field(default_factory=dict)


def run_actor(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    store: ActorStore,
    actor: str,
    options: RunOptions = RunOptions(),
    *,
    interrupted: Callable[[], bool] = lambda: False,
) -> RunOutcome:
    """Materialize the assets of `job` for an actor, or those in `options.only`.

    interrupted: whether a signal asks this process to stop; the run is then marked as cancelled,
    where Dagster, which knows of no request from the UI, would call it a failure. Raises
    GenerationError for a setting out of range, whichever asset it is for, before anything is made.
    """
    in_job = job.asset_layer.executable_asset_keys
    wanted = [
        asset
        for asset in STAGES
        if dg.AssetKey(asset) in in_job and (not options.only or asset in options.only)
    ]
    spec = store.spec(actor)
    for asset in wanted:
        overrides = {
            name: value for name, value in options.settings.get(asset, {}).items() if name != "seed"
        }
        resolve_settings(STAGES[asset], spec, overrides)
    run_config: dict[str, Any] = {
        "ops": {
            asset: {"config": dict(values)}
            for asset, values in options.settings.items()
            if asset in wanted
        },
        "loggers": {options.logger: {}},
    }
    if options.tools:
        run_config["resources"] = {"tools": {"config": dict(options.tools)}}
    run_id = str(uuid.uuid4())
    instance.add_event_listener(run_id, _Canceller(instance, interrupted))
    began = time.monotonic()
    result = job.execute_in_process(
        run_config=run_config,
        instance=instance,
        partition_key=actor,
        # From its first moment: killed before its resources start, it would count as living
        # indefinitely.
        tags={**process_tag(run_id), **options.tags},
        asset_selection=[dg.AssetKey(asset) for asset in wanted],
        run_id=run_id,
        raise_on_error=False,
    )
    return _outcome(result, store, actor, wanted, time.monotonic() - began)


def run_avatar(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    store: ActorStore,
    actor: str,
    options: RunOptions = RunOptions(),
) -> RunOutcome:
    """Do what `run_actor` does, where nothing else is to be run after a wrong choice of the model.

    Raises ModelError for a preset, a model or an override that is not usable, before a run is made.
    """
    chosen = {
        name: value
        for name, value in options.tools.items()
        if name in ("model", "preset", "overrides")
    }
    Models(**chosen).preset(store.spec(actor))  # loads nothing
    return run_actor(job, instance, store, actor, options)


class _Canceller:
    """Listens to a run's events, and at the first one after an interrupt marks the run as one that
    is being cancelled.
    """

    def __init__(self, instance: dg.DagsterInstance, interrupted: Callable[[], bool]) -> None:
        self.instance = instance
        self.interrupted = interrupted
        self.done = False

    def __call__(self, entry: dg.EventLogEntry) -> None:
        if self.done or not (self.interrupted() or _is_interrupt(entry)):
            return
        self.done = True
        run = self.instance.get_run_by_id(entry.run_id)
        if run is not None and run.status == dg.DagsterRunStatus.STARTED:
            self.instance.report_run_canceling(run, "A signal asked this process to stop.")


def _is_interrupt(entry: dg.EventLogEntry) -> bool:
    event = entry.dagster_event
    if event is None or not event.is_step_failure:
        return False
    source = event.step_failure_data.error_source
    return source is not None and source.value == "INTERRUPT"


def _outcome(
    result: dg.ExecuteInProcessResult,
    store: ActorStore,
    actor: str,
    wanted: Sequence[str],
    seconds: float,
) -> RunOutcome:
    checks = {
        asset: [
            e for e in result.get_asset_check_evaluations() if e.asset_key == dg.AssetKey(asset)
        ]
        for asset in wanted
    }
    failed = {
        str(event.step_key): step_error(event)
        for event in result.all_events
        if event.is_step_failure
    }
    made = {event.asset_key for event in result.get_asset_materialization_events()}
    rows = []
    for asset in wanted:
        manifest = store.current(actor, asset) if dg.AssetKey(asset) in made else None
        warnings = list(manifest.verdicts.values()).count("warn") if manifest else 0
        if manifest:
            verdict = (
                verdict_of(manifest) if manifest.skipped else _verdict(checks[asset], warnings)
            )
        else:
            verdict = "failed" if asset in failed else "not run"
        rows.append(Row(asset, manifest, verdict, warnings))
    cancelled = result.dagster_run.status == dg.DagsterRunStatus.CANCELED
    if cancelled:
        return RunOutcome(
            result.run_id,
            rows,
            ["the run was cancelled; what it had stored before stays"],
            True,
            seconds,
        )
    problems = [
        f"{asset}: {reason}"
        for asset, reason in failed.items()
        if not any(_is_error(check) for check in checks.get(asset, []))
    ]
    problems += [
        f"{asset}: {e.check_name}: {e.description}"
        for asset in wanted
        for e in checks[asset]
        if _is_error(e)
    ]
    if not result.success and not problems:
        problems = ["the run failed; see its log in the UI (make ui)"]
    return RunOutcome(result.run_id, rows, problems, False, seconds)


def _is_error(check: dg.AssetCheckEvaluation) -> bool:
    return not check.passed and check.severity == dg.AssetCheckSeverity.ERROR


def _verdict(checks: Sequence[dg.AssetCheckEvaluation], warned: int) -> str:
    if any(_is_error(check) for check in checks):
        return "error"
    return f"pass, {count(warned, 'warning')}" if warned else "pass"
