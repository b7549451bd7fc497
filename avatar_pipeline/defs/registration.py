"""Tell Dagster which actors there are and in which version their inputs are: idempotent, called by the command and the sensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import dagster as dg

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.defs.external import observation, observed_version, version_of
from avatar_pipeline.defs.partitions import ACTORS
from avatar_pipeline.errors import AvatarPipelineError
from avatar_pipeline.stages.chain import MODEL, PHOTOS, SPEC


@dataclass
class Registered:
    """What a registration found. added: new actors. changed: (actor, asset) pairs. problems: by actor, what its owner must mend."""

    added: list[str] = field(default_factory=list)
    changed: list[tuple[str, str]] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


def register(instance: dg.DagsterInstance, store: ActorStore, only: Sequence[str] | None = None) -> Registered:
    """Add a partition for every actor in the store, and observe each input whose content differs from what Dagster last saw.

    only: these actors, all when None.
    An actor with a problem (a bad actor.yaml, no consent, no photographs) is registered all the same: its run will say why it fails.
    """
    done = Registered()
    name = str(ACTORS.name)
    known = set(instance.get_dynamic_partitions(name))
    actors = store.names() if only is None else only
    done.added = [actor for actor in actors if actor not in known]
    instance.add_dynamic_partitions(name, done.added)
    for actor in actors:
        for asset in (SPEC, PHOTOS, MODEL):
            try:
                version = version_of(store, actor, asset)
            except AvatarPipelineError as error:
                done.problems.setdefault(actor, str(error))
                continue
            if observed_version(instance, actor, asset) != version:
                instance.report_runless_asset_event(observation(actor, asset, version))
                done.changed.append((actor, asset))
    return done
