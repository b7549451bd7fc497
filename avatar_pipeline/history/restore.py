"""Make an older version current again: {asset}/, the pointer, the drop-in portrait, Dagster's
event, and a line in the history.

The threat: a process killed in the middle leaves files of two versions side by side, or a store and
a Dagster that disagree.
The mechanism: everything is verified first; then the intention is written down, then carried out,
then marked as finished, all with the actor's lock held. The next command (`history`, `restore`,
`prune`) carries out what was not finished; each step may be repeated.
Its limits: until then, {asset}/ may hold files of both versions. The pipeline never reads
those: it follows the pointer, which is of the old version or of the new one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from avatar_pipeline.actors.consent.standing import require_scopes
from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import short
from avatar_pipeline.core.errors import ActorError, StoreError
from avatar_pipeline.core.login import login_name
from avatar_pipeline.history.restorations import Restoration, interrupted, record
from avatar_pipeline.history.versions import find_version
from avatar_pipeline.pipeline.exports import drop_in
from avatar_pipeline.pipeline.origin import portrait_origin
from avatar_pipeline.pipeline.registry import STAGES

logger = logging.getLogger(__name__)

# Tells Dagster about a version that was restored: the manifest, who asked for it, and when (UTC,
# ISO 8601).
Report = Callable[[Manifest, str, str], None]


@dataclass(frozen=True)
class RestoreResult:
    """What became of a restoration. already: it was current before, and nothing was done.

    differing: upstream assets whose current version is not the one that it was made from, with both
    digests.
    downstream: versions made from what is current now, in the order of the chain, which are not
    current; stale: assets downstream of which there is no such version. drop_in: the path of the
    portrait that followed, empty when none did.
    """

    manifest: Manifest
    already: bool
    differing: dict[str, tuple[str, str]] = field(default_factory=dict)
    downstream: list[Manifest] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    drop_in: str = ""


def restore(store: ActorStore, name: str, asset: str, digest: str, report: Report) -> RestoreResult:
    """Make the version whose digest begins with `digest` the current one.

    report: called with the actor's lock held, before the restoration counts as finished. It may be
    called again for the same one. Raises StoreError for an unknown version or a damaged file,
    ActorError without the consent that making it would need; then nothing was changed.
    """
    spec = store.spec(name)
    manifest = find_version(store, spec.name, asset, digest)
    require_scopes(spec, store.actor_dir(spec.name), STAGES[asset].scopes)
    finish_interrupted(store, spec.name, report)
    with store.writing(spec.name):
        files = store.read_all(manifest)
        before = _current_digest(store, spec.name, asset)
        if before == manifest.digest:
            portrait, already = "", True
        else:
            already = False
            entry = Restoration(digest=manifest.digest, before=before, by=login_name())
            record(store, spec.name, asset, entry)
            portrait = _carry_out(store, manifest, files, entry, report)
    differing = {}
    for parent in STAGES[asset].upstream:
        now = _current_digest(store, spec.name, parent)
        if now != manifest.inputs.get(parent, ""):
            differing[parent] = (manifest.inputs.get(parent, ""), now)
    downstream, stale = matching_downstream(store, spec.name, asset)
    return RestoreResult(manifest, already, differing, downstream, stale, portrait)


def restore_downstream(
    store: ActorStore, name: str, asset: str, report: Report
) -> list[RestoreResult]:
    """Restore, one after the other, the newest versions that were made from what is current now,
    downstream of an asset.
    """
    found, _ = matching_downstream(store, name, asset)
    return [restore(store, name, version.asset, version.digest, report) for version in found]


def matching_downstream(
    store: ActorStore, name: str, asset: str
) -> tuple[list[Manifest], list[str]]:
    """Return, downstream of an asset: the versions that would fit it and are not current, and the
    assets that have none that fits.

    A version fits when each of its inputs from the chain is the current version of that input, or
    the fitting one.
    """
    wanted = {asset: _current_digest(store, name, asset)}
    fitting: list[Manifest] = []
    stale: list[str] = []
    below = {asset}
    for stage in STAGES.values():
        if not below.intersection(stage.upstream):
            continue
        below.add(stage.name)
        current = _current_digest(store, name, stage.name)
        versions, _ = store.readable_versions(name, stage.name)
        if not current and not versions:
            continue
        inputs = {
            parent: wanted.get(parent) or _current_digest(store, name, parent)
            for parent in stage.upstream
        }
        fit = [
            version
            for version in versions
            if all(version.inputs.get(parent, "") == digest for parent, digest in inputs.items())
        ]
        chosen = next(
            (version for version in fit if version.digest == current), fit[0] if fit else None
        )
        if chosen is None:
            stale.append(stage.name)
            wanted[stage.name] = current  # it stays, and what was made from it fits
            continue
        wanted[stage.name] = chosen.digest
        if chosen.digest != current:
            fitting.append(chosen)
    return fitting, stale


def finish_interrupted(store: ActorStore, name: str, report: Report) -> list[Manifest]:
    """Carry out what a killed restoration had begun; returns the versions that are current now
    because of that.

    Without the consent that making it would need, it stays as it is, and the log reports it.
    """
    done: list[Manifest] = []
    spec = store.spec(name)
    for asset, stage in STAGES.items():
        if interrupted(store, name, asset) is None:
            continue
        try:
            require_scopes(spec, store.actor_dir(name), stage.scopes)
        except ActorError as error:
            logger.warning(
                "%s of %s: a restoration that was interrupted stays so: %s", asset, name, error
            )
            continue
        with store.writing(name):
            entry = interrupted(store, name, asset)  # another process may have been faster
            if entry is not None:
                manifest = find_version(store, name, asset, entry.digest)
                _carry_out(store, manifest, store.read_all(manifest), entry, report)
                done.append(manifest)
    return done


def _carry_out(
    store: ActorStore,
    manifest: Manifest,
    files: dict[str, bytes],
    entry: Restoration,
    report: Report,
) -> str:
    """Do everything that follows once the intention is written down. Each step may be done twice.
    Returns the path of the drop-in portrait.
    """
    store.make_current(manifest, files)
    portrait = ""
    exported = STAGES[manifest.asset].exported
    if exported and not manifest.metrics.get("errors"):
        spec = store.spec(manifest.actor)
        portrait = str(
            drop_in(
                store,
                spec,
                files[exported.format(actor=spec.name)],
                portrait_origin(store, manifest),
            )
        )
    report(manifest, entry.by, entry.created)
    record(store, manifest.actor, manifest.asset, entry.model_copy(update={"finished": True}))
    return portrait


def _current_digest(store: ActorStore, name: str, asset: str) -> str:
    """Return the digest of the current version, empty when there is none or its manifest is
    damaged.
    """
    try:
        return store.current(name, asset).digest
    except StoreError:
        return ""


def result_lines(restored: RestoreResult) -> list[str]:
    """Return what to print about it, one line each."""
    manifest = restored.manifest
    version = f"{manifest.asset} {short(manifest.digest)} of {manifest.actor}"
    lines = [
        f"{version} is current already; nothing was done."
        if restored.already
        else f"{version}, made {manifest.created[:19]}Z, is current again."
    ]
    if restored.drop_in:
        lines.append(f"The portrait followed: {restored.drop_in}")
    elif STAGES[manifest.asset].exported and manifest.metrics.get("errors"):
        lines.append("Its checks found errors, so the drop-in portrait was left as it is.")
    lines += [
        f"It was made from {parent} {short(then) or 'none'}, and {short(now) or 'none'} is "
        "current: it counts as stale."
        for parent, (then, now) in restored.differing.items()
    ]
    return lines
