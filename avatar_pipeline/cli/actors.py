"""Who there is: register, new-actor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatar_pipeline.cli._shared import Actor, actor_store, out
from avatar_pipeline.core.words import count
from avatar_pipeline.orchestration.home import dagster_home


def register(
    removed: Annotated[
        bool, typer.Option("--removed", help="Most actors are really gone: unregister them.")
    ] = False,
) -> None:
    """Report to Dagster which actors there are, and in which version their inputs are. Run it again
    at any time.
    """
    from dagster import DagsterInstance

    from avatar_pipeline.orchestration.pools import free_slots_of_dead_runs
    from avatar_pipeline.orchestration.registration import register as register_actors

    home = dagster_home()
    store = actor_store()
    with DagsterInstance.get() as instance:
        free_slots_of_dead_runs(instance)
        done = register_actors(instance, store, remove_many=removed)
    renamed = f"{len(done.renamed)} renamed, " if done.renamed else ""
    out.print(
        f"{count(len(store.names()), 'actor')}, {len(done.added)} new, {renamed}"
        f"{len(done.removed)} gone, "
        f"{count(len(done.changed), 'changed input')}. "
        f"DAGSTER_HOME={home}",
        highlight=False,
    )
    for note in done.notes.values():
        out.print(note, markup=False, highlight=False)
    for actor, problem in done.problems.items():
        out.print(f"[yellow]{actor} cannot run yet[/yellow]: ", end="")
        out.print(problem, markup=False, highlight=False)


def new_actor(
    name: Actor,
    description: Annotated[
        str,
        typer.Option(help="The person in words: ethnicity or appearance, age, gender, features."),
    ],
    photos: Annotated[
        Path | None, typer.Option(help="Folder with 10 to 20 photographs, which are copied.")
    ] = None,
    likeness: Annotated[
        str, typer.Option(help="real (a living person: needs consent) or synthetic.")
    ] = "synthetic",
    framing: Annotated[str, typer.Option(help="full_body, half_body or headshot.")] = "headshot",
) -> None:
    """Make the folder of a new actor, and register it."""
    from upath import UPath

    from avatar_pipeline.actors.creation import create_actor

    folder, warnings = create_actor(
        actor_store(),
        name,
        description=description,
        photos=UPath(photos) if photos else None,
        likeness=likeness,
        framing=framing,
    )
    out.print(f"Made {folder}", highlight=False)
    for warning in warnings:
        out.print(f"warning: {warning}", markup=False, highlight=False)
    register(removed=False)
