"""What was made current again: one small file beside an asset's versions.

An entry is written before anything is changed and marked as finished when all is done: one that is
not finished shows the next command what a killed one had begun.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from avatar_pipeline.actors.files import write_atomic
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.clock import utc_now
from avatar_pipeline.core.errors import StoreError


class Restoration(BaseModel):
    """One version that was made current again. before: the digest that was current until then,
    empty when there was none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str
    before: str = ""
    created: str = Field(default_factory=utc_now, description="UTC, ISO 8601")
    by: str = Field("", description="the login name of who asked for it")
    finished: bool = False


_ENTRIES = TypeAdapter(list[Restoration])


def restorations(store: ActorStore, name: str, asset: str) -> list[Restoration]:
    """Return all of an asset, oldest first. Raises StoreError when the file is damaged."""
    path = store.restored_file(name, asset)
    if not path.is_file():
        return []
    try:
        return _ENTRIES.validate_json(path.read_bytes())
    except ValidationError:
        raise StoreError(
            f"{path} is damaged. Delete it: it only tells when older versions of {asset} were "
            "made current again."
        ) from None


def interrupted(store: ActorStore, name: str, asset: str) -> Restoration | None:
    """Return the restoration that was begun and not finished, unless the asset was made again since
    then.
    """
    entries = restorations(store, name, asset)
    if not entries or entries[-1].finished:
        return None
    versions, _ = store.readable_versions(name, asset)
    return (
        None if any(version.created > entries[-1].created for version in versions) else entries[-1]
    )


def record(store: ActorStore, name: str, asset: str, entry: Restoration) -> None:
    """Add an entry, or replace the one of the same moment. Call while the store is `writing`."""
    entries = [
        known for known in restorations(store, name, asset) if known.created != entry.created
    ]
    write_atomic(store.restored_file(name, asset), _ENTRIES.dump_json([*entries, entry], indent=1))
