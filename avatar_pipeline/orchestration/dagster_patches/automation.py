"""What a condition of one's own is made of, and what it asks of Dagster's graph and event log."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.definitions.declarative_automation.operands.subset_automation_condition import (
    SubsetAutomationCondition as SubsetAutomationCondition,
)
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecordStatus,
    AssetCheckExecutionResolvedStatus,
)
from dagster._record import record as record

if TYPE_CHECKING:  # the event log's module would load SQLAlchemy with every definition
    from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
    from dagster._core.asset_graph_view.entity_subset import EntitySubset as EntitySubset
    from dagster._core.storage.event_log.base import (
        AssetEventSummaryRecord as AssetEventSummaryRecord,
    )

EVALUATED = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}


def stale_or_missing(view: AssetGraphView, key: dg.AssetKey) -> Callable[[str], bool]:
    """Return a function that says whether an asset's partition is what the UI calls stale, or
    missing. It keeps what it has read.
    """
    resolver = CachingStaleStatusResolver(view.instance, view.asset_graph, view)
    wanted = (StaleStatus.STALE, StaleStatus.MISSING)
    return lambda partition: resolver.get_status(key, partition) in wanted


async def failed_partitions(view: AssetGraphView, key: dg.AssetCheckKey) -> set[str]:
    """Return the partitions of which a check has failed the last time, with an error or a
    warning.
    """
    everything = view.get_full_subset(key=key)
    failed = await view.compute_subset_with_status(
        key, AssetCheckExecutionResolvedStatus.FAILED, everything
    )
    return set() if failed.is_empty else set(failed.expensively_compute_partition_keys())


def last_evaluation(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey, partition: str
) -> dg.AssetCheckEvaluation | None:
    """Return a check's last verdict on a partition, None when it was never evaluated."""
    history = instance.event_log_storage.get_asset_check_execution_history(
        key, limit=1, status=EVALUATED, partition_filter=PartitionKeyFilter(key=partition)
    )
    return history[0].evaluation if history else None
