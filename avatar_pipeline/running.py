"""Run the main job for one actor in this process, and tell what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.definitions import AVATAR_JOB, chosen_logger, defs, free_slots_of_dead_runs, step_error
from avatar_pipeline.provenance.manifest import Manifest
from avatar_pipeline.stages.chain import STAGES
from avatar_pipeline.stages.settings import resolve_settings
from avatar_pipeline.stages.tools import Tools


@dataclass(frozen=True)
class Row:
    """One asset of a run. manifest: what it made, None when it made nothing. verdict: its worst check, or why there is none."""

    asset: str
    manifest: Manifest | None
    verdict: str


@dataclass(frozen=True)
class Outcome:
    """A finished run. problems: what went wrong, in the words of the errors and checks; empty after a success."""

    run_id: str
    rows: list[Row]
    problems: list[str]


def run_avatar(
    instance: dg.DagsterInstance,
    store: ActorStore,
    actor: str,
    *,
    only: Sequence[str] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    tools: Mapping[str, Any] | None = None,
) -> Outcome:
    """Materialize all seven assets of an actor, or those in `only`.

    settings: by asset, what to override. tools: configuration of the resource `tools` (device, preset, model, overrides, analyzer).
    Raises GenerationError for a setting out of range, whichever asset it is for, and ModelError for a preset or an override that is
    not usable, before anything is made.
    """
    wanted = [asset for asset in STAGES if not only or asset in only]
    spec = store.spec(actor)
    for asset in wanted:
        overrides = {name: value for name, value in (settings or {}).get(asset, {}).items() if name != "seed"}
        resolve_settings(STAGES[asset], spec, overrides)
    chosen = {name: value for name, value in (tools or {}).items() if name in ("model", "preset", "overrides")}
    Tools(**{"device": "auto", "model": None, "analyzer": "dlib", "log": print, **chosen}).preset(spec)  # loads nothing
    run_config: dict[str, Any] = {
        "ops": {asset: {"config": dict(values)} for asset, values in (settings or {}).items()},
        "loggers": {chosen_logger(): {}},
    }
    if tools:
        run_config["resources"] = {"tools": {"config": dict(tools)}}
    free_slots_of_dead_runs(instance)
    result = defs.resolve_job_def(AVATAR_JOB.name).execute_in_process(
        run_config=run_config,
        instance=instance,
        partition_key=actor,
        asset_selection=[dg.AssetKey(asset) for asset in only] or None,
        raise_on_error=False,
    )
    checks = {asset: [e for e in result.get_asset_check_evaluations() if e.asset_key == dg.AssetKey(asset)] for asset in wanted}
    failed = {str(event.step_key): step_error(event) for event in result.all_events if event.is_step_failure}
    rows = []
    for asset in wanted:
        made = any(event.asset_key == dg.AssetKey(asset) for event in result.get_asset_materialization_events())
        verdict = _verdict(checks[asset]) if made else "failed" if asset in failed else "not run"
        rows.append(Row(asset, store.current(actor, asset) if made else None, verdict))
    problems = [
        f"{asset}: {reason}" for asset, reason in failed.items() if not any(_is_error(check) for check in checks.get(asset, []))
    ]
    problems += [f"{asset}: {e.check_name}: {e.description}" for asset in wanted for e in checks[asset] if _is_error(e)]
    if not result.success and not problems:
        problems = ["the run failed; see its log in the UI (make ui)"]
    return Outcome(result.run_id, rows, problems)


def _is_error(check: dg.AssetCheckEvaluation) -> bool:
    return not check.passed and check.severity == dg.AssetCheckSeverity.ERROR


def _verdict(checks: Sequence[dg.AssetCheckEvaluation]) -> str:
    if any(_is_error(check) for check in checks):
        return "error"
    warned = sum(not check.passed for check in checks)
    return f"pass, {warned} warnings" if warned else "pass"
