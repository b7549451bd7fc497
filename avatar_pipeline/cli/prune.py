"""The command prune: old versions that nothing refers to, removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from avatar_pipeline.cli._shared import actor_store, out
from avatar_pipeline.cli.restore import finish_killed_restore
from avatar_pipeline.core.digests import short
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.orchestration.home import dagster_home

if TYPE_CHECKING:
    pass


def prune(
    actor: Annotated[str, typer.Argument(help="The actor's name.")] = "",
    keep: Annotated[
        int, typer.Option(help="Versions of each asset that stay, the newest ones.")
    ] = 0,
    all_: Annotated[bool, typer.Option("--all", help="All actors.")] = False,
    older_than: Annotated[
        float, typer.Option(min=0, help="Days: younger versions stay as well.")
    ] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print. The default.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Really remove them.")] = False,
) -> None:
    """Remove old versions that nothing refers to. Tells what would go; removes it with --yes."""
    from avatar_pipeline.history.prune import plan
    from avatar_pipeline.history.prune import prune as prune_actor

    if bool(actor) == all_:
        raise StoreError("Give the name of one actor, or --all.")
    if yes and dry_run:
        raise StoreError("--yes removes and --dry-run does not: give one of them.")
    store = actor_store()
    gone = kept = 0
    for name in store.names() if all_ else [store.spec(actor).name]:
        if yes:
            _require_idle(name)
            finish_killed_restore(store, name)
        done = (
            prune_actor(store, name, keep, older_than)
            if yes
            else plan(store, name, keep, older_than)
        )
        for manifest in done.gone:
            made = manifest.created[:19].replace("T", " ")
            size = sum(entry.bytes for entry in manifest.files.values())
            text = (
                f"{name}: {manifest.asset:<20} {short(manifest.digest)}  {made}  {_size(size):>9}"
            )
            out.print(("removed " if yes else "would go ") + text, markup=False, highlight=False)
        for manifest in done.held:
            text = (
                f"{name}: {manifest.asset:<20} {short(manifest.digest)}  current, or what a kept "
                "version was made from"
            )
            out.print(f"stays   {text}", markup=False, highlight=False)
        for place, problem in done.left.items():
            out.print(
                f"{name}: {place} was left: {problem}",
                markup=False,
                highlight=False,
                style="yellow",
            )
        summary = (
            f"{len(done.gone)} versions, {_size(done.bytes_gone)}, "
            f"{'removed' if yes else 'would go'}"
        )
        out.print(
            f"{name}: {summary}; {len(done.kept)} stay, {_size(done.bytes_kept)}.", highlight=False
        )
        gone += done.bytes_gone
        kept += done.bytes_kept
    if all_:
        out.print(
            f"All actors: {_size(gone)} {'freed' if yes else 'to free'}, {_size(kept)} stay.",
            highlight=False,
        )
    if gone and not yes:
        out.print("Nothing was removed. To remove it, add --yes.", highlight=False)


def _require_idle(actor: str) -> None:
    """Raise StoreError while a run works on the actor: what it has read so far is not in any
    manifest yet.
    """
    from dagster import DagsterInstance

    from avatar_pipeline.orchestration.pools import free_slots_of_dead_runs
    from avatar_pipeline.orchestration.restore_events import runs_under_way

    dagster_home()
    with DagsterInstance.get() as instance:
        free_slots_of_dead_runs(instance)
        if runs := runs_under_way(instance, actor):
            raise StoreError(
                f"A run is working on {actor} ({', '.join(run[:8] for run in runs)}): prune when "
                "it is done. "
                "If its process is gone, mark it as failed in the UI (make ui)."
            )


def _size(count: int) -> str:
    """Return bytes as people read them."""
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"
