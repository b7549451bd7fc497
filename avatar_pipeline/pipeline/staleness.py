"""Is what an actor has up to date? Read from manifests alone, so that ten thousand actors take
seconds.

Dagster tells the same of one actor at a time, from its event log (the badges of its UI); a test
compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.stage import Stage


def missing_assets(
    store: ActorStore, actor: str, stages: Mapping[str, Stage] = STAGES
) -> list[str]:
    """The assets that the store does not have of an actor, in the order of the chain."""
    return [asset for asset in stages if _current(store, actor, asset) is None]


def stale_assets(
    store: ActorStore, actor: str, observed: Mapping[str, str], stages: Mapping[str, Stage] = STAGES
) -> dict[str, str]:
    """The assets that were made of what is not current any more, with the reason; what is missing
    is not among them.

    observed: the present versions of the external assets, by name; one that is not in it counts as
    unchanged. What only lies downstream of a stale asset is not stale itself: it may turn out that
    its inputs come out the same.
    """
    made = {
        asset: manifest
        for asset in stages
        if (manifest := _current(store, actor, asset)) is not None
    }
    present = {**observed, **{asset: manifest.digest for asset, manifest in made.items()}}
    reasons = {}
    for asset, manifest in made.items():
        changed = [
            name for name, digest in manifest.inputs.items() if present.get(name, digest) != digest
        ]
        if manifest.code_version != stages[asset].code_version:
            reasons[asset] = (
                f"its code is version {stages[asset].code_version}, and was {manifest.code_version}"
            )
        elif changed:
            reasons[asset] = f"{changed[0]} has changed"
    return reasons


def _current(store: ActorStore, actor: str, asset: str) -> Manifest | None:
    try:
        return store.current(actor, asset)
    except StoreError:  # never made, or damaged, which makes it as good as missing
        return None
