"""What the policy (automation.py) asks that Dagster's own conditions do not answer, each for the few actors that are in question.

Dagster evaluates conditions of one's own in the code location only: the policy's sensor sets `use_user_code_server`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.definitions.declarative_automation.operands.subset_automation_condition import SubsetAutomationCondition
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecordStatus,
    AssetCheckExecutionResolvedStatus,
)
from dagster._record import record

if TYPE_CHECKING:
    from dagster._core.asset_graph_view.entity_subset import EntitySubset

EVALUATED = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}


@record
class Differs(SubsetAutomationCondition):
    """The asset is missing, or its code or an input's content is not what it was made from: what the UI calls stale.

    This looks at contents, not at events: what a run has consumed in the meantime does not differ any more.
    """

    @property
    def name(self) -> str:
        return "differs"

    def compute_subset(self, context: dg.AutomationContext) -> EntitySubset:
        view = context.asset_graph_view
        resolver = CachingStaleStatusResolver(view.instance, view.asset_graph, view)
        return _only(context, lambda actor: resolver.get_status(context.key, actor) in (StaleStatus.STALE, StaleStatus.MISSING))


@record
class ChangedByRunOfTarget(SubsetAutomationCondition):
    """Asked of an input: its last version was made, or observed, by a run that was to make the asset in question too.

    Such a run hands the new content on itself, or has failed in trying. Dagster's `executed_with_root_target` means the same, but
    sees only the one partition that was materialized last, and no observations.
    """

    @property
    def name(self) -> str:
        return "changed_by_run_of_target"

    def compute_subset(self, context: dg.AutomationContext) -> EntitySubset:
        view = context.asset_graph_view
        latest = view.get_inner_queryer_for_back_compat().get_latest_materialization_or_observation_record
        target = context.root_context.key

        def by_its_run(actor: str) -> bool:
            found = latest(AssetKeyPartitionKey(context.key, actor))
            return found is not None and target in _planned(view.instance, found.run_id)

        return _only(context, by_its_run)


@record
class BlockingCheckFailed(SubsetAutomationCondition):
    """Asked of an input: a blocking check found an error in it.

    Dagster's `all_deps_blocking_checks_passed` takes a warning for a failure, and nearly every actor has one.
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
            everybody = view.get_full_subset(key=key)
            failed = await view.compute_subset_with_status(key, AssetCheckExecutionResolvedStatus.FAILED, everybody)
            names = set(failed.expensively_compute_partition_keys()) if not failed.is_empty else set()
            blocked = blocked.compute_union(
                _only(context, lambda actor, key=key, names=names: actor in names and _is_error(view.instance, key, actor))
            )
        return blocked


def _only(context: dg.AutomationContext, holds: object) -> EntitySubset:
    """The candidates for which `holds(actor)` is true."""
    candidates = context.candidate_subset
    return candidates.compute_intersection_with_partition_keys(
        {actor for actor in candidates.expensively_compute_partition_keys() if holds(actor)}  # type: ignore[operator]
    )


def _planned(instance: dg.DagsterInstance, run_id: str) -> set[dg.AssetKey]:
    """The assets that a run was to make; none for an event that no run reported."""
    planned = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED) if run_id else []
    return {entry.dagster_event.asset_key for entry in planned if entry.dagster_event and entry.dagster_event.asset_key}


def _is_error(instance: dg.DagsterInstance, key: dg.AssetCheckKey, actor: str) -> bool:
    """Whether the last verdict of a check on an actor is an error, rather than a warning."""
    history = instance.event_log_storage.get_asset_check_execution_history(
        key, limit=1, status=EVALUATED, partition_filter=PartitionKeyFilter(key=actor)
    )
    evaluation = history[0].evaluation if history else None
    return evaluation is not None and not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR
