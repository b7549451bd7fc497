"""Retention: which versions may go, and removing them.

The threat: a version that goes is gone for good, and another version's manifest may say that it was
made from it.
The mechanism: kept are the newest N of each asset, those younger than a given age, the current
ones, and everything that a kept one was made from, all the way up. What cannot be read is left, and
so is whatever it might refer to. All is decided and done with the actor's lock held.
Its limits: an object store has no lock here. Prune there only while nothing publishes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from avatar_pipeline.actors.consent.revoked import is_real
from avatar_pipeline.actors.handed_out import note
from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.history.restorations import interrupted
from avatar_pipeline.pipeline.registry import STAGES

Place = tuple[str, str]  # asset, digest


@dataclass(frozen=True)
class PrunePlan:
    """What goes and what stays of one actor's versions. left: by "asset/folder", why something was
    left that cannot be judged.

    bytes_gone, bytes_kept: as the manifests record them. held: versions beyond the newest N that
    something kept refers to.
    """

    actor: str
    gone: list[Manifest]
    kept: list[Manifest]
    held: list[Manifest]
    left: dict[str, str] = field(default_factory=dict)

    @property
    def bytes_gone(self) -> int:
        """Bytes of the versions that go."""
        return sum(size_of(manifest) for manifest in self.gone)

    @property
    def bytes_kept(self) -> int:
        """Bytes of the versions that stay, damaged ones not counted."""
        return sum(size_of(manifest) for manifest in self.kept)


def size_of(manifest: Manifest) -> int:
    """Return the bytes of a version's files, its manifest not counted."""
    return sum(entry.bytes for entry in manifest.files.values())


def plan(store: ActorStore, name: str, keep: int, older_than: float = 0.0) -> PrunePlan:
    """Return what `prune` would remove. keep: versions of each asset that stay, at least 1.
    older_than: days; younger versions stay.

    Raises StoreError for a `keep` below 1, ActorError for a bad name.
    """
    if keep < 1:
        raise StoreError(f"--keep {keep}: say how many versions of each asset stay, at least 1.")
    versions: dict[str, list[Manifest]] = {}
    left: dict[str, str] = {}
    roots: set[Place] = set()
    # assets of which nothing goes, as something unreadable may refer to any of their versions
    guarded: set[str] = set()
    oldest = (datetime.now(UTC) - timedelta(days=older_than)).isoformat(timespec="microseconds")
    for asset in STAGES:
        versions[asset], damaged = store.readable_versions(name, asset)
        for folder, problem in damaged.items():
            left[f"{asset}/{folder}"] = problem
            referred = _references(store, name, asset, folder)
            if referred is None:
                guarded |= _upstream(asset)
            else:
                roots |= referred
        newest = versions[asset][:keep]
        young = [
            manifest for manifest in versions[asset] if older_than and manifest.created > oldest
        ]
        roots |= {(asset, manifest.digest) for manifest in (*newest, *young)}
        begun, problem = _begun(store, name, asset)
        roots |= begun
        if problem:
            left[f"{asset}/restored.json"] = problem
            guarded.add(asset)
        if versions[asset] or damaged:
            try:
                roots.add((asset, store.current(name, asset).digest))
            except StoreError as error:
                left[f"{asset}/manifest.json"] = str(error)
                guarded.add(asset)
    roots |= {(asset, manifest.digest) for asset in guarded for manifest in versions[asset]}
    kept = closure(roots, versions)
    everything = [manifest for asset in STAGES for manifest in versions[asset]]
    beyond = {(asset, manifest.digest) for asset in STAGES for manifest in versions[asset][keep:]}
    return PrunePlan(
        actor=str(name),
        gone=[manifest for manifest in everything if place(manifest) not in kept],
        kept=[manifest for manifest in everything if place(manifest) in kept],
        held=[manifest for manifest in everything if place(manifest) in kept & beyond],
        left=left,
    )


def prune(store: ActorStore, name: str, keep: int, older_than: float = 0.0) -> PrunePlan:
    """Remove what `plan` lists, downstream first: at each moment everything that is left has all
    that it was made from.

    Raises StoreError as `plan`, or when another process keeps writing to the actor.
    """
    with store.writing(name):
        planned = plan(store, name, keep, older_than)
        if is_real(store.actor_dir(name)):  # a copy of one of these is recognised as before
            note(
                name,
                (entry.sha256 for manifest in planned.gone for entry in manifest.files.values()),
            )
        # in the order of the chain, newest first: so from its end, oldest first
        for manifest in reversed(planned.gone):
            store.remove(name, manifest.asset, manifest.digest)
        for asset in STAGES:
            store.remove_unfinished(name, asset)
    return planned


def closure(roots: Iterable[Place], versions: dict[str, list[Manifest]]) -> set[Place]:
    """Return these versions and all that they were made from, as far as it is in the store."""
    known = {place(manifest): manifest for manifests in versions.values() for manifest in manifests}
    found: set[Place] = set()
    queue = list(roots)
    while queue:
        each = queue.pop()
        if each in found or each not in known:
            continue
        found.add(each)
        queue += known[each].inputs.items()
    return found


def place(manifest: Manifest) -> Place:
    """Return where a version belongs."""
    return manifest.asset, manifest.digest


def _references(store: ActorStore, name: str, asset: str, digest: str) -> set[Place] | None:
    """Return what a manifest that is not valid says it was made from; None when not even that can
    be read.
    """
    try:
        content: Any = json.loads(store.manifest_file(name, asset, digest).read_bytes())
        return {(str(parent), str(version)) for parent, version in content["inputs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _upstream(asset: str) -> set[str]:
    """Return everything that an asset is made from, directly or not."""
    direct = set(STAGES[asset].upstream)
    return direct.union(*(_upstream(parent) for parent in direct))


def _begun(store: ActorStore, name: str, asset: str) -> tuple[set[Place], str]:
    """Return the version that a killed restoration was about to make current, which stays; and what
    is wrong with the record of it.
    """
    try:
        entry = interrupted(store, name, asset)
    except StoreError as error:
        return set(), str(error)
    return ({(asset, entry.digest)} if entry else set()), ""
