"""Many actors at once: batch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from avatar_pipeline.cli._shared import (
    Device,
    Model,
    actor_store,
    out,
    parse_settings,
    require_assets,
    require_used,
    tools_config,
)
from avatar_pipeline.core.errors import AvatarPipelineError, StoreError
from avatar_pipeline.orchestration.home import dagster_home

if TYPE_CHECKING:
    from avatar_pipeline.orchestration.jobs.batch_progress import BatchProgress

EXIT_INTERRUPTED = 130  # the exit code of programs that Ctrl-C ended


def batch(
    actors: Annotated[list[str] | None, typer.Argument(help="The actors, by name.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All actors of the store.")] = False,
    missing: Annotated[
        bool, typer.Option("--missing", help="Actors of which some asset was never made.")
    ] = False,
    stale: Annotated[
        bool,
        typer.Option(
            "--stale", help="Actors of which some asset was made of what has changed since."
        ),
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this asset; may be given several times.")
    ] = None,
    keep_unchanged: Annotated[
        bool,
        typer.Option(
            "--keep-unchanged",
            help="Keep what is up to date: a batch that was ended goes on where it stopped.",
        ),
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="ASSET.SETTING=VALUE; may be given several times."),
    ] = None,
    device: Device = "auto",
    preset: Annotated[
        str | None,
        typer.Option(help="Preset to use instead of the one that each actor.yaml names."),
    ] = None,
    model: Model = None,
) -> None:
    """Make many actors in this process, each model loaded once; a run of its own for each actor.
    Exit code 1 when one failed.
    """
    from dagster import DagsterInstance

    from avatar_pipeline.actors.consent.revoked import may_be_revoked
    from avatar_pipeline.diffusion.overrides import preset_by_name
    from avatar_pipeline.orchestration.batch_run import choose_actors, run_batch
    from avatar_pipeline.orchestration.registration import in_one_line
    from avatar_pipeline.orchestration.registration import register as register_actors
    from avatar_pipeline.pipeline.registry import STAGES

    dagster_home()
    store = actor_store()
    settings = parse_settings(set_ or [], STAGES)
    require_assets(only or [])
    require_used(settings, only or [])
    if not (actors or all_ or missing or stale):
        raise StoreError(
            "Which actors? Give names, or --all, --missing, --stale, or several of them."
        )
    if preset is not None:
        preset_by_name(preset)  # else every actor would fail by it
    tools = tools_config(device, preset, model)
    with DagsterInstance.get() as instance:
        chosen = [
            str(store.spec(actor).name) for actor in actors or []
        ]  # a name that was mistyped stops all, before anything is made
        if all_:
            chosen += [name for name in store.names() if not may_be_revoked(store.actor_dir(name))]
        elif missing or stale:
            problems = register_actors(instance, store).problems
            due = choose_actors(instance, store, missing=missing, stale=stale, only=only or [])
            chosen += [actor for actor in due if actor not in problems]
            for actor in sorted(set(due) & problems.keys() - set(chosen)):
                line = f"{actor} is left out: {in_one_line(actor, problems[actor])}"
                out.print(line, markup=False, highlight=False)
        chosen = list(dict.fromkeys(chosen))
        if not chosen:
            out.print(
                "Nothing to make: no actor is missing or stale."
                if missing or stale
                else "There are no actors."
            )
            return
        with _terminal() as terminal, _bar(Console(file=terminal, soft_wrap=True)) as progress:
            task = progress.add_task("", total=len(chosen), left="")

            def report(done: BatchProgress, left: float) -> None:
                from avatar_pipeline.orchestration.jobs.batch_progress import duration

                progress.console.print(_line(done), highlight=False)
                progress.update(task, completed=done.number, left=f"about {duration(left)} left")

            outcome = run_batch(
                instance,
                chosen,
                only=only or [],
                settings=settings,
                tools=tools,
                keep_unchanged=keep_unchanged,
                report=report,
            )
    out.print(_table(f"batch, run {outcome.run_id[:8]}", outcome.done))
    if outcome.cancelled:
        out.print(
            f"Cancelled: {len(outcome.done)} of {len(chosen)} actors were reached. "
            "--keep-unchanged goes on from there."
        )
        raise typer.Exit(EXIT_INTERRUPTED)
    if outcome.problems:
        raise AvatarPipelineError(outcome.problems)


@contextmanager
def _terminal() -> Iterator[TextIO]:
    """Yield where stderr goes now. Dagster captures stdout and stderr while a run executes: a
    progress bar has to go past it.
    """
    try:
        own = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):  # replaced by an object in memory, as tests do
        yield sys.stderr
        return
    with os.fdopen(own, "w") as terminal:
        yield terminal


def _bar(console: Console) -> Progress:
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    return Progress(*columns, console=console, transient=True)


COLOURS = {"failed": "red", "cancelled": "yellow"}


def _line(done: BatchProgress) -> str:
    colour = COLOURS.get(done.verdict, "green")
    reason = f": {escape(done.reason)}" if done.reason else ""
    return (
        f"{done.number:>4} of {done.total}  {done.actor}  [{colour}]{done.verdict}[/{colour}], "
        f"{done.seconds:.1f} s{reason}"
    )


def _table(title: str, done: list[BatchProgress]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("actor", "assets made", "seconds", "verdict", "run"):
        table.add_column(
            column, justify="right" if column in ("assets made", "seconds") else "left"
        )
    for one in done:
        run = one.outcome.run_id[:8] if one.outcome else ""
        table.add_row(
            one.actor,
            str(len(one.made)),
            f"{one.seconds:.1f}",
            one.verdict,
            run,
            style=COLOURS.get(one.verdict),
        )
    return table
