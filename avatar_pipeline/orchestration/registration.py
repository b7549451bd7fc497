"""Tell Dagster which actors there are and in which version their inputs are: idempotent, called by
the command and the sensor.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf

import dagster as dg
from upath import UPath

from avatar_pipeline.actors.consent.revoked import revoked
from avatar_pipeline.actors.consent.standing import standing
from avatar_pipeline.actors.photo_folder import look_into
from avatar_pipeline.actors.root import ROOT_VARIABLE
from avatar_pipeline.actors.scan import (
    SETTLE_S,
    UNFINISHED_S,
    ActorFingerprint,
    is_whole,
    scan_actor,
    scan_all,
)
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import ActorError, AvatarPipelineError, StoreError
from avatar_pipeline.orchestration.actor_index import (
    Index,
    RegisteredActor,
    read_index,
    write_index,
)
from avatar_pipeline.orchestration.inputs import ACTORS, model_version, observation, observed_in
from avatar_pipeline.orchestration.renaming import take_over_renamed, tell_renamed
from avatar_pipeline.orchestration.undeclared_folders import undeclared_folders
from avatar_pipeline.pipeline.settings import check_asset_names
from avatar_pipeline.pipeline.stage import MODEL, PHOTOS, SPEC
from avatar_pipeline.pipeline.versions import photos_version, spec_version

# So many may go at once without a question; more than half of all looks like a disk that is not
# there.
MAX_UNREGISTERED_AT_ONCE = 10
ACTORS_PER_TIME_CHECK = 10  # actors between two readings of the clock


@dataclass
class RegistrationResult:
    """What a registration found. added: new actors. removed: those whose folder is gone. changed:
    (actor, asset) pairs.

    removed names actors whose consent was revoked, too. waiting: actors whose files are still being
    copied. later: how many did not fit into `seconds`. problems: by actor, what its
    owner must fix. left_out: by actor, what lies in its folder photos/ and is not taken, and why;
    all of them, and those that were read now alone (left_out_now).
    renamed: actors whose folder was renamed, with the name before; they count neither as new nor as
    gone. notes: by actor, what is good to know.
    """

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[tuple[str, str]] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    later: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    left_out_now: dict[str, list[str]] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def register(
    instance: dg.DagsterInstance,
    store: ActorStore,
    only: Sequence[str] | None = None,
    *,
    settle: bool = False,
    seconds: float = inf,
    remove_many: bool = False,
) -> RegistrationResult:
    """Add a partition for every actor in the store, remove those of actors who are gone, and
    observe each input whose content differs from what Dagster last saw. Unchanged actors cost one
    look at their folder; nothing in the store or the event log is deleted.

    only: these actors, all when None. settle: leave actors alone whose files are still being
    copied; a person who says "register" means now. seconds: after the search, begin with no further
    actors once that time is over. remove_many: believe it when most are gone. An actor with a
    problem (a bad actor.yaml, no consent, no photographs) is registered all the same: its run will
    say why it fails. One whose consent was revoked is left out, and its partition goes. Raises
    ActorError when one of `only` was revoked, StoreError when the root is missing, or when so many
    actors are gone that it is more likely that a disk is.
    """
    done = RegistrationResult()
    index = read_index(store)
    before = index.model_dump()
    name = str(ACTORS.name)
    known = set(instance.get_dynamic_partitions(name))
    for actor in only or ():
        _require_not_revoked(store, actor)
    seen = scan_all(store) if only is None else {actor: scan_actor(store, actor) for actor in only}
    if only is None:
        done.removed = sorted(known - seen.keys())
        _require_belief(store, seen, known, done.removed, remove_many)
        for actor in done.removed:
            instance.delete_dynamic_partition(name, actor)
        index.actors = {actor: entry for actor, entry in index.actors.items() if actor in seen}
    due = [
        actor
        for actor in sorted(seen)
        if (seen[actor].has_spec or actor in known) and _is_due(index, known, seen, actor)
    ]
    if settle:
        done.waiting = _moving(index, seen, due)
        due = [actor for actor in due if actor not in set(done.waiting)]
    else:
        index.moving = {actor: state for actor, state in index.moving.items() if actor not in seen}
    end = time.monotonic() + seconds
    _look_at_models(instance, index, seen, done, end)
    done.later = len(due)
    for number, group in enumerate(_groups(due)):
        if number and time.monotonic() >= end:
            break
        done.later -= len(group)
        versions = take_over_renamed(store, group, done.renamed, done.notes)
        read = {actor: _read(store, actor, seen[actor], patient=settle) for actor in group}
        done.waiting += [actor for actor, entry in read.items() if entry is None]
        index.actors |= {
            actor: entry for actor, entry in read.items() if entry is not None and entry.revoked
        }
        for actor in known.intersection(
            actor for actor, entry in read.items() if entry is not None and entry.revoked
        ):
            instance.delete_dynamic_partition(name, actor)
            done.removed.append(actor)
        entries = {
            actor: entry for actor, entry in read.items() if entry is not None and not entry.revoked
        }
        done.left_out_now |= {
            actor: entry.left_out for actor, entry in entries.items() if entry.left_out
        }
        new = [actor for actor in entries if actor not in known]
        instance.add_dynamic_partitions(name, new)
        done.added += [actor for actor in new if actor not in done.renamed]
        index.actors |= entries
        _look_at_models(instance, index, entries, done)
        _tell(instance, SPEC, {actor: entry.spec for actor, entry in entries.items()}, done)
        _tell(instance, PHOTOS, {actor: entry.photos for actor, entry in entries.items()}, done)
        tell_renamed(instance, store, versions, done.renamed)
        for former in known.intersection(done.renamed[actor] for actor in versions):
            if not (store.actor_dir(former) / "actor.yaml").is_file():
                instance.delete_dynamic_partition(name, former)
    done.removed = [actor for actor in done.removed if actor not in done.renamed.values()]
    done.changed.sort(key=lambda pair: (pair[0], (SPEC, PHOTOS, MODEL).index(pair[1])))
    done.problems = {
        actor: entry.problem
        for actor in sorted(seen)
        if (entry := index.actors.get(actor)) is not None and entry.problem
    }
    done.left_out = {
        actor: entry.left_out
        for actor in sorted(seen)
        if (entry := index.actors.get(actor)) is not None and entry.left_out
    }
    done.problems |= undeclared_folders(store, seen, known, every=only is None)
    write_index(index, before)
    return done


def in_one_line(actor: str, problem: str) -> str:
    """Return what keeps an actor from running as one line; of a long text the beginning, and the
    command that prints all of it.
    """
    first, *more = problem.splitlines()
    if len(more) < 3:
        return " ".join([first, *more])
    return f"{first} What to do: avatar-pipeline run {actor} prints it."


def _tell(
    instance: dg.DagsterInstance,
    asset: str,
    versions: Mapping[str, str | None],
    done: RegistrationResult,
) -> None:
    """Observe the versions, by actor, that differ from what Dagster last saw. One query for all, as
    a registration must not ask for each.
    """
    observed = observed_in(instance, asset, list(versions)) if versions else {}
    for actor, version in versions.items():
        if version is not None and observed.get(actor) != version:
            instance.report_runless_asset_event(observation(actor, asset, version))
            done.changed.append((actor, asset))


def _require_not_revoked(store: ActorStore, actor: str) -> None:
    folder = store.actor_dir(actor)
    if _is_revoked(folder):
        raise ActorError(standing(store.spec(actor), folder).words, code="no_consent")


def _is_revoked(folder: UPath) -> bool:
    """Return whether the record says so. One that cannot be read is a problem of an actor that
    stays registered; no photograph is opened.
    """
    try:
        return revoked(folder) is not None
    except ActorError:
        return False


def _is_due(
    index: Index, known: set[str], seen: Mapping[str, ActorFingerprint], actor: str
) -> bool:
    """Return whether an actor must be read: new, changed, or a real person on another day than
    consent was last judged on.
    """
    entry = index.actors.get(actor)
    if (
        entry is not None
        and entry.revoked
        and actor not in known
        and entry.fingerprint == seen[actor].fingerprint
    ):
        return False
    if entry is None or actor not in known or entry.fingerprint != seen[actor].fingerprint:
        return True
    return entry.day is not None and entry.day != _today()


def _moving(index: Index, seen: Mapping[str, ActorFingerprint], due: Sequence[str]) -> list[str]:
    """Return those of the actors whose files are not still yet; their present state is remembered
    for the next time.
    """
    now = time.time()
    moving: dict[str, tuple[str, float]] = {}
    for actor in due:
        fingerprint, since = index.moving.get(actor, ("", now))
        if fingerprint != seen[actor].fingerprint:
            since = now
        # ctime may be from another machine's clock, or there is none (0, an object store): there
        # files are never half-copied
        if now - since < SETTLE_S and abs(now - seen[actor].touched) < SETTLE_S:
            moving[actor] = (seen[actor].fingerprint, since)
    index.moving = moving
    return list(moving)


def _read(
    store: ActorStore, actor: str, seen: ActorFingerprint, *, patient: bool
) -> RegisteredActor | None:
    """Return what an actor's files say; None when a picture has no end yet and it may still be
    copying it (patient).
    """
    entry = RegisteredActor(
        fingerprint=seen.fingerprint, revoked=_is_revoked(store.actor_dir(actor))
    )
    if entry.revoked:
        return entry
    try:
        spec = store.spec(actor)
        check_asset_names(spec)
        entry.spec, entry.preset, entry.values = spec_version(spec), spec.preset, spec.model
        entry.day = _today() if spec.likeness == "real" else None
        photos = store.photos(actor)  # consent first
        if (
            patient
            and time.time() - seen.touched < UNFINISHED_S
            and not all(is_whole(photo.data) for photo in photos if not photo.problem)
        ):
            return None
        entry.photos = photos_version(photos)
        if spec.has_photographs:
            entry.left_out = look_into(store.actor_dir(actor) / "photos").left_out
    except AvatarPipelineError as error:
        entry.problem = str(error)
    return entry


def _look_at_models(
    instance: dg.DagsterInstance,
    index: Index,
    actors: Iterable[str],
    done: RegistrationResult,
    end: float = inf,
) -> None:
    """Return the version of each actor's base model, found once for all who use the same one, as
    the environment has it now; reported if new.

    end: when to stop telling, on the clock `monotonic`; who is left is reported at the next check.
    """
    found: dict[str, tuple[str | None, str]] = {}
    changed: dict[str, str | None] = {}
    for actor in actors:
        entry = index.actors.get(actor)
        if entry is None or entry.preset is None:
            continue
        key = json.dumps([entry.preset, entry.values], sort_keys=True)
        if key not in found:
            try:
                found[key] = model_version(entry.preset, entry.values, "{actor}"), ""
            except AvatarPipelineError as error:
                found[key] = None, str(error)
        version, problem = found[key]
        if version != entry.model:
            changed[actor] = version
        if entry.photos is not None:  # else the problem is with what comes before the model
            entry.problem = problem.replace("{actor}", actor) or None
    for number, group in enumerate(_groups(changed)):
        if number and time.monotonic() >= end:
            return
        _tell(instance, MODEL, {actor: changed[actor] for actor in group}, done)
        for actor in group:
            index.actors[actor].model = changed[actor]


def _require_belief(
    store: ActorStore,
    seen: Mapping[str, ActorFingerprint],
    known: set[str],
    gone: Sequence[str],
    remove_many: bool,
) -> None:
    if not gone or remove_many:
        return
    if not any(state.has_spec for state in seen.values()):
        reason = f"{store.root} holds no actor at all, and Dagster knows {len(known)}"
    elif len(gone) > max(MAX_UNREGISTERED_AT_ONCE, len(known) // 2):
        reason = (
            f"{len(gone)} of the {len(known)} actors that Dagster knows are gone from {store.root}"
        )
    else:
        return
    raise StoreError(
        f"{reason}: nothing was unregistered. Is the disk mounted, and does {ROOT_VARIABLE} name "
        "the right folder? "
        "If they are really gone: avatar-pipeline register --removed"
    )


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _groups(names: Iterable[str]) -> Iterator[list[str]]:
    waiting = list(names)
    for start in range(0, len(waiting), ACTORS_PER_TIME_CHECK):
        yield waiting[start : start + ACTORS_PER_TIME_CHECK]
