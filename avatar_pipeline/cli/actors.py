"""Who there is: register, new-actor."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avatar_pipeline.cli._shared import Actor, actor_store, out
from avatar_pipeline.core.words import count
from avatar_pipeline.orchestration.home import dagster_home

if TYPE_CHECKING:
    from avatar_pipeline.actors.spec import ActorSpec
    from avatar_pipeline.actors.store import ActorStore


def register(
    removed: Annotated[
        bool, typer.Option("--removed", help="Most actors are really gone: unregister them.")
    ] = False,
) -> None:
    """Report to Dagster which actors there are, and in which version their inputs are. Run it again
    at any time.
    """
    for actor, problem in _register(removed=removed).items():
        out.print(f"[yellow]{actor} cannot run yet[/yellow]: ", end="")
        out.print(problem, markup=False, highlight=False)


def _register(*, only: Sequence[str] | None = None, removed: bool = False) -> dict[str, str]:
    """Register the actors, all or `only` these; print the counts. Returns what keeps some of them
    from running, a line for each.
    """
    from dagster import DagsterInstance

    from avatar_pipeline.orchestration.pools import free_slots_of_dead_runs
    from avatar_pipeline.orchestration.registration import in_one_line
    from avatar_pipeline.orchestration.registration import register as register_actors
    from avatar_pipeline.preflight.find import printable

    home = dagster_home()
    store = actor_store()
    with DagsterInstance.get() as instance:
        free_slots_of_dead_runs(instance)
        done = register_actors(instance, store, only, remove_many=removed)
    renamed = f"{len(done.renamed)} renamed, " if done.renamed else ""
    out.print(
        f"{count(len(store.names()), 'actor')}, {len(done.added)} new, {renamed}"
        f"{len(done.removed)} gone, "
        f"{count(len(done.changed), 'changed input')}. "
        f"DAGSTER_HOME={home}",
        highlight=False,
    )
    for actor, lines in done.left_out.items():
        if only is None or actor in only:
            out.print(f"[yellow]{actor}, not taken from photos/[/yellow]:", highlight=False)
            for line in lines:
                out.print(f"  {printable(line)}", markup=False, highlight=False)
    for note in done.notes.values():
        out.print(note, markup=False, highlight=False)
    return {actor: in_one_line(actor, problem) for actor, problem in done.problems.items()}


def new_actor(
    name: Actor,
    description: Annotated[
        str,
        typer.Option(help="The person in words: ethnicity or appearance, age, gender, features."),
    ],
    photos: Annotated[
        Path | None,
        typer.Option(
            help="Folder with 10 to 20 photographs, or a data set folder of kohya's, with captions;"
            " they are copied."
        ),
    ] = None,
    likeness: Annotated[
        str | None,
        typer.Option(
            help="real (a living person: needs consent) or synthetic (a person who does not "
            "exist). With photographs it must be said; from words alone, synthetic is the default."
        ),
    ] = None,
    framing: Annotated[str, typer.Option(help="full_body, half_body or headshot.")] = "headshot",
) -> None:
    """Make the folder of a new actor, and register it. Photographs that lie in the actor's folder
    photos/ already are taken; the last line is the next command.
    """
    from upath import UPath

    from avatar_pipeline.actors.creation import create_actor, shows_somebody
    from avatar_pipeline.preflight.find import printable

    store = actor_store()
    given = UPath(photos.expanduser()) if photos else None
    if likeness is None and sys.stdin.isatty() and shows_somebody(store, name, given):
        likeness = typer.prompt(
            "Whom do the photographs show: a living person, whose consent is then needed (real), "
            "or a person who does not exist (synthetic)?"
        ).strip()
    folder, warnings = create_actor(
        store,
        name,
        description=description,
        photos=given,
        likeness=likeness,
        framing=framing,
    )
    out.print(f"Made {folder}", highlight=False)
    for warning in warnings:
        out.print(f"warning: {printable(warning)}", markup=False, highlight=False)
    problem = _register(only=[name]).get(name, "")
    for line in _what_next(store, store.spec(name), problem):
        out.print(line, markup=False, highlight=False)


def _what_next(store: ActorStore, spec: ActorSpec, problem: str) -> list[str]:
    """Return what is left to do for a new actor: the command is the last line."""
    from avatar_pipeline.actors.consent.standing import GRANT, standing

    state = standing(spec, store.actor_dir(spec.name)).state
    if state == "missing":
        return [
            f"{spec.name} is a real person: what is missing is the consent, signed on paper.",
            f"Next: {GRANT.format(actor=spec.name)}",
        ]
    return [*([problem] if problem else []), f"Next: avatar-pipeline run {spec.name}"]
