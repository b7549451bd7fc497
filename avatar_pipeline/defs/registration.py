"""Tell Dagster which actors there are and in which version their inputs are: idempotent, called by the command and the sensor."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg

from avatar_pipeline.actors.scan import SETTLE, UNFINISHED, Seen, is_whole, look, sweep
from avatar_pipeline.actors.store import ROOT_VARIABLE, ActorStore
from avatar_pipeline.defs.actor_index import Index, Known, read_index, write_index
from avatar_pipeline.defs.external import model_version, observation, observed_in
from avatar_pipeline.defs.partitions import ACTORS
from avatar_pipeline.errors import AvatarPipelineError, StoreError
from avatar_pipeline.stages.chain import MODEL, PHOTOS, SPEC
from avatar_pipeline.stages.produce import photos_version, spec_version

# So many may go at once without a question; more than half of all looks like a disk that is not there.
FEW = 10
CHUNK = 1000  # names in one query: SQLite takes 32766 parameters, older builds 999 and a bit


@dataclass
class Registered:
    """What a registration found. added: new actors. removed: those whose folder is gone. changed: (actor, asset) pairs.

    waiting: actors whose files are still being copied. later: how many did not fit into `limit`.
    problems: by actor, what its owner must mend.
    """

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[tuple[str, str]] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    later: int = 0
    problems: dict[str, str] = field(default_factory=dict)


def register(
    instance: dg.DagsterInstance,
    store: ActorStore,
    only: Sequence[str] | None = None,
    *,
    settle: bool = False,
    limit: int | None = None,
    remove_many: bool = False,
) -> Registered:
    """Add a partition for every actor in the store, remove those of actors who are gone, and observe each input whose content differs
    from what Dagster last saw. Unchanged actors cost one look at their folder; nothing in the store or the event log is deleted.

    only: these actors, all when None. settle: leave actors alone whose files are still being copied; a person who says "register"
    means now. limit: read so many actors at most. remove_many: believe it when most actors are gone.
    An actor with a problem (a bad actor.yaml, no consent, no photographs) is registered all the same: its run will say why it fails.
    Raises StoreError when the root is missing, or when so many actors are gone that it is more likely that a disk is.
    """
    done = Registered()
    index = read_index(store)
    before = index.model_dump()
    name = str(ACTORS.name)
    known = set(instance.get_dynamic_partitions(name))
    seen = sweep(store) if only is None else {actor: look(store, actor) for actor in only}
    if only is None:
        done.removed = sorted(known - seen.keys())
        _require_belief(store, seen, known, done.removed, remove_many)
        for actor in done.removed:
            instance.delete_dynamic_partition(name, actor)
        index.actors = {actor: entry for actor, entry in index.actors.items() if actor in seen}
    due = [actor for actor in sorted(seen) if (seen[actor].has_spec or actor in known) and _is_due(index, known, seen, actor)]
    if settle:
        done.waiting = _moving(index, seen, due)
        due = [actor for actor in due if actor not in set(done.waiting)]
    else:
        index.moving = {actor: state for actor, state in index.moving.items() if actor not in seen}
    done.later = len(due[limit:]) if limit is not None else 0
    read: dict[str, Known] = {}
    for actor in due[:limit]:
        entry = _read(store, actor, seen[actor], patient=settle)
        if entry is None:
            done.waiting.append(actor)
        else:
            read[actor] = entry
    done.added = [actor for actor in read if actor not in known]
    for names in _chunks(done.added):
        instance.add_dynamic_partitions(name, names)
    models = {actor: entry.model for actor, entry in index.actors.items()}
    index.actors |= read
    _look_at_models({actor: index.actors[actor] for actor in seen if actor in index.actors})
    remodelled = [a for a in seen if a in index.actors and a not in read and index.actors[a].model != models[a]]
    for asset, actors in ((SPEC, list(read)), (PHOTOS, list(read)), (MODEL, [*read, *remodelled])):
        observed = {name: version for names in _chunks(actors) for name, version in observed_in(instance, asset, names).items()}
        for actor in actors:
            version = _VERSIONS[asset](index.actors[actor])
            if version is not None and observed.get(actor) != version:
                instance.report_runless_asset_event(observation(actor, asset, version))
                done.changed.append((actor, asset))
    done.changed.sort(key=lambda pair: (pair[0], (SPEC, PHOTOS, MODEL).index(pair[1])))
    done.problems = {
        actor: entry.problem for actor in sorted(seen) if (entry := index.actors.get(actor)) is not None and entry.problem
    }
    write_index(index, before)
    return done


_VERSIONS: dict[str, Callable[[Known], str | None]] = {
    SPEC: lambda entry: entry.spec,
    PHOTOS: lambda entry: entry.photos,
    MODEL: lambda entry: entry.model,
}


def _is_due(index: Index, known: set[str], seen: Mapping[str, Seen], actor: str) -> bool:
    """Whether an actor must be read: new, changed, or a real person on another day than consent was last judged on."""
    entry = index.actors.get(actor)
    if entry is None or actor not in known or entry.look != seen[actor].fingerprint:
        return True
    return entry.day is not None and entry.day != _today()


def _moving(index: Index, seen: Mapping[str, Seen], due: Sequence[str]) -> list[str]:
    """Those of the actors whose files are not still yet; what they look like is remembered for the next look."""
    now = time.time()
    moving: dict[str, tuple[str, float]] = {}
    for actor in due:
        look, since = index.moving.get(actor, ("", now))
        if look != seen[actor].fingerprint:
            since = now
        # ctime may be from another machine's clock, or there is none (0, an object store): there files are never half-copied
        if now - since < SETTLE and abs(now - seen[actor].touched) < SETTLE:
            moving[actor] = (seen[actor].fingerprint, since)
    index.moving = moving
    return list(moving)


def _read(store: ActorStore, actor: str, seen: Seen, *, patient: bool) -> Known | None:
    """What an actor's files say; None when a picture has no end yet and somebody may still be copying it (patient)."""
    entry = Known(look=seen.fingerprint)
    try:
        spec = store.spec(actor)
        entry.spec, entry.preset, entry.values = spec_version(spec), spec.preset, spec.model
        entry.day = _today() if spec.likeness == "real" else None
        photos = store.photos(actor)  # consent first
        if patient and time.time() - seen.touched < UNFINISHED and not all(is_whole(photo.data) for photo in photos):
            return None
        entry.photos = photos_version(photos)
    except AvatarPipelineError as error:
        entry.problem = str(error)
    return entry


def _look_at_models(entries: Mapping[str, Known]) -> None:
    """Fill in the version of each actor's base model: found once for all who use the same one, as the environment has it now."""
    found: dict[str, tuple[str | None, str]] = {}
    for actor, entry in entries.items():
        if entry.preset is None:
            entry.model = None
            continue
        key = json.dumps([entry.preset, entry.values], sort_keys=True)
        if key not in found:
            try:
                found[key] = model_version(entry.preset, entry.values, "{actor}"), ""
            except AvatarPipelineError as error:
                found[key] = None, str(error)
        entry.model, problem = found[key]
        if problem and entry.photos is not None:
            entry.problem = problem.replace("{actor}", actor)
        elif entry.photos is not None:
            entry.problem = None


def _require_belief(store: ActorStore, seen: Mapping[str, Seen], known: set[str], gone: Sequence[str], remove_many: bool) -> None:
    if not gone or remove_many:
        return
    if not any(state.has_spec for state in seen.values()):
        told = f"{store.root} holds no actor at all, and Dagster knows {len(known)}"
    elif len(gone) > max(FEW, len(known) // 2):
        told = f"{len(gone)} of the {len(known)} actors that Dagster knows are gone from {store.root}"
    else:
        return
    raise StoreError(
        f"{told}: nothing was unregistered. Is the disk mounted, and does {ROOT_VARIABLE} name the right folder? "
        "If they are really gone: avatar-pipeline register --removed"
    )


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _chunks(names: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), CHUNK):
        yield list(names[start : start + CHUNK])
