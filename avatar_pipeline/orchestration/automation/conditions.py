"""What the policy (policy.py) asks that Dagster's own conditions do not answer, each for the
few actors that are in question.

Dagster evaluates conditions of one's own in the code location only: the policy's sensor sets
`use_user_code_server`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal
from zlib import crc32

import dagster as dg

from avatar_pipeline.orchestration.dagster_patches.automation import (
    SubsetAutomationCondition,
    failed_partitions,
    last_evaluation,
    record,
    stale_or_missing,
)

if TYPE_CHECKING:
    from avatar_pipeline.orchestration.dagster_patches.automation import (
        AssetEventSummaryRecord,
        EntitySubset,
    )

# An input is observed or made.
_AssetEvent = Literal[
    dg.DagsterEventType.ASSET_OBSERVATION, dg.DagsterEventType.ASSET_MATERIALIZATION
]
INPUT_EVENTS: tuple[_AssetEvent, ...] = (
    dg.DagsterEventType.ASSET_OBSERVATION,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
)

# actors of whom it is compared, in one tick, what they were made from: 5 to 10 ms for each asset
ACTORS_PER_TICK = 100


@record
class Differs(SubsetAutomationCondition):
    """The asset is missing, or its code or an input's content is not what it was made from: what
    the UI calls stale.

    This compares contents, not at events: what a run has consumed in the meantime does not differ
    any more.
    """

    @property
    def name(self) -> str:
        return "differs"

    async def compute_subset(self, context: dg.AutomationContext) -> EntitySubset:  # type: ignore[override]
        return _only(context, stale_or_missing(context.asset_graph_view, context.key))


@record
class ChangedByRunOfTarget(SubsetAutomationCondition):
    """Asked of an input: its last version was made, or observed, by a run that was to make the
    asset in question too.

    Such a run hands the new content on itself, or has failed in trying. Dagster's
    `executed_with_root_target` means the same, but sees only the one partition that was
    materialized last, and no observations.
    """

    @property
    def name(self) -> str:
        return "changed_by_run_of_target"

    def compute_subset(self, context: dg.AutomationContext) -> EntitySubset:
        instance, target = context.asset_graph_view.instance, context.root_context.key
        before = (
            context.previous_temporal_context.last_event_id
            if context.previous_temporal_context
            else None
        )
        run_of = {
            event.partition: (event.storage_id, event.run_id)
            for kind in INPUT_EVENTS
            for event in _events(instance, context.key, kind, before)
        }
        by_target = {
            run: target in _planned(instance, run) for run in {run for _, run in run_of.values()}
        }
        return _only(context, lambda actor: actor in run_of and by_target[run_of[actor][1]])


@record
class NeverSeen(SubsetAutomationCondition):
    """Asked of an input: it was never made, or never observed.

    Of an external asset, Dagster's `missing` asks the database for each actor; here one query tells
    of all.
    """

    @property
    def name(self) -> str:
        return "never_seen"

    async def compute_subset(self, context: dg.AutomationContext) -> EntitySubset:  # type: ignore[override]
        view = context.asset_graph_view
        if context.asset_graph.get(context.key).is_materializable:
            return await view.compute_missing_subset(
                key=context.key, from_subset=context.candidate_subset
            )
        seen = view.instance.event_log_storage.get_latest_storage_id_by_partition(
            context.key, dg.DagsterEventType.ASSET_OBSERVATION
        )
        return _only(context, lambda actor: actor not in seen)


@record
class InPortion(SubsetAutomationCondition):
    """True for all where few are in question, else for about ACTORS_PER_TICK of them, others in
    each tick.

    After an upgrade every actor may be due: Dagster ends a tick after 60 seconds, and thousands of
    runs asked for at once help no one. An actor is in the same portion of all assets, or nearly:
    what belongs into one run stays together.
    """

    @property
    def name(self) -> str:
        return "in_portion"

    def compute_subset(self, context: dg.AutomationContext) -> EntitySubset:
        portions = -(-context.candidate_subset.size // ACTORS_PER_TICK)
        now = context.evaluation_id % max(portions, 1)
        return _only(
            context, lambda actor: portions <= 1 or crc32(actor.encode()) % portions == now
        )


@record
class BlockingCheckFailed(SubsetAutomationCondition):
    """Asked of an input: a blocking check found an error in it.

    Dagster's `all_deps_blocking_checks_passed` takes a warning for a failure, and nearly every
    actor has one.
    """

    @property
    def name(self) -> str:
        return "blocking_check_failed"

    async def compute_subset(self, context: dg.AutomationContext) -> EntitySubset:  # type: ignore[override]
        view, graph = context.asset_graph_view, context.asset_graph
        blocked = context.get_empty_subset()
        for key in sorted(graph.get(context.key).check_keys):
            if not graph.get(key).blocking:
                continue
            names = await failed_partitions(view, key)
            blocked = blocked.compute_union(
                _only(context, partial(_has_error, view.instance, key, names))
            )
        return blocked


def _only(context: dg.AutomationContext, holds: Callable[[str], bool]) -> EntitySubset:
    """Return the candidates for which `holds(actor)` is true."""
    candidates = context.candidate_subset
    return candidates.compute_intersection_with_partition_keys(
        {actor for actor in candidates.expensively_compute_partition_keys() if holds(actor)}
    )


def _events(
    instance: dg.DagsterInstance, key: dg.AssetKey, kind: _AssetEvent, after: int | None
) -> Sequence[AssetEventSummaryRecord]:
    """Return the events of an asset after the one with this number, oldest first: one query,
    whatever they are about.
    """
    return instance.get_asset_event_summary_records(
        kind, asset_key=key, after_storage_id=after, ascending=True
    )


def _planned(instance: dg.DagsterInstance, run_id: str | None) -> set[dg.AssetKey]:
    """Return the assets that a run was to make; none for an event that no run reported."""
    planned = (
        instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
        if run_id
        else []
    )
    return {
        entry.dagster_event.asset_key
        for entry in planned
        if entry.dagster_event and entry.dagster_event.asset_key
    }


def _has_error(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey, failed: set[str], actor: str
) -> bool:
    return actor in failed and _is_error(instance, key, actor)


def _is_error(instance: dg.DagsterInstance, key: dg.AssetCheckKey, actor: str) -> bool:
    """Return whether the last verdict of a check on an actor is an error, rather than a warning."""
    evaluation = last_evaluation(instance, key, actor)
    return (
        evaluation is not None
        and not evaluation.passed
        and evaluation.severity == dg.AssetCheckSeverity.ERROR
    )
