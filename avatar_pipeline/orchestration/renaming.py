"""Renamed actors in a registration: their versions are taken over, and reported to Dagster under
the present name.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence

import dagster as dg
from PIL import Image

from avatar_pipeline.actors.consent.standing import require_scopes
from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import AvatarPipelineError
from avatar_pipeline.history.images import pictures
from avatar_pipeline.history.renamed import copied_note, find_foreign, take_over
from avatar_pipeline.orchestration.restore_events import report_renamed
from avatar_pipeline.pipeline.exports import drop_in
from avatar_pipeline.pipeline.origin import portrait_origin
from avatar_pipeline.pipeline.registry import STAGES


def take_over_renamed(
    store: ActorStore,
    actors: Sequence[str],
    renamed: MutableMapping[str, str],
    notes: MutableMapping[str, str],
) -> dict[str, list[Manifest]]:
    """Take over the versions of those actors whose folder was renamed; return the current ones by
    actor.

    renamed, notes: get an entry for each actor that was renamed, or has something to tell.
    """
    versions: dict[str, list[Manifest]] = {}
    for actor in actors:
        try:
            foreign = find_foreign(store, actor)
            if foreign is None:
                continue
            if foreign.how == "copied":
                notes[actor] = copied_note(store, foreign)
                continue
            versions[actor] = take_over(store, foreign)
            renamed[actor] = foreign.former
            notes[actor] = (
                f"{actor} was called {foreign.former}: its versions are kept, and nothing is made "
                "again for the name alone."
            )
        except AvatarPipelineError as error:
            if error.code != "no_consent":  # the registration says so of every actor
                notes[actor] = str(error)
    return versions


def tell_renamed(
    instance: dg.DagsterInstance,
    store: ActorStore,
    versions: Mapping[str, Sequence[Manifest]],
    renamed: Mapping[str, str],
) -> None:
    """Report the versions that were taken over, in the order of the chain, once their inputs are
    known under the present name; the finished portrait follows.
    """
    for actor, manifests in versions.items():
        for manifest in manifests:
            folder = store.actor_dir(actor) / manifest.asset
            report_renamed(
                instance, manifest, _previews(store, manifest), str(folder), renamed[actor]
            )
            exported = STAGES[manifest.asset].exported.format(actor=actor)
            if exported and not manifest.metrics.get("errors"):
                origin = portrait_origin(store, manifest)
                drop_in(store, store.spec(actor), store.read(manifest, exported), origin)


def _previews(store: ActorStore, manifest: Manifest) -> dict[str, Image.Image]:
    """Return a version's pictures; none without the consent that making it would need."""
    spec = store.spec(manifest.actor)
    try:
        require_scopes(spec, store.actor_dir(spec.name), STAGES[manifest.asset].scopes)
        return pictures(store, manifest)
    except AvatarPipelineError:
        return {}
