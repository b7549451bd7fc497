"""What Dagster's UI says of an actor's assets."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest


def statuses_of(
    instance: dg.DagsterInstance, defs: dg.Definitions, actor: str, assets: Sequence[str]
) -> dict[str, str]:
    """ "FRESH", "STALE" or "MISSING" by asset."""
    resolver = CachingStaleStatusResolver(
        instance, defs.resolve_asset_graph(), LoadingContextForTest(instance)
    )
    return {asset: resolver.get_status(dg.AssetKey(asset), actor).value for asset in assets}
