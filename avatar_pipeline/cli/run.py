"""Making: run, replay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from avatar_pipeline.cli._shared import (
    Actor,
    Device,
    Model,
    actor_store,
    out,
    parse_settings,
    require_assets,
    require_used,
    tools_config,
)
from avatar_pipeline.core.digests import short
from avatar_pipeline.core.errors import AvatarPipelineError, StoreError
from avatar_pipeline.core.words import count
from avatar_pipeline.orchestration.home import dagster_home

if TYPE_CHECKING:
    from avatar_pipeline.actors.store import ActorStore


def run(
    actor: Actor,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this asset; may be given several times.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Root seed; -1 draws one. Default: what actor.yaml says.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="ASSET.SETTING=VALUE; may be given several times."),
    ] = None,
    device: Device = "auto",
    preset: Annotated[
        str | None, typer.Option(help="Preset to use instead of the one that actor.yaml names.")
    ] = None,
    model: Model = None,
) -> None:
    """Make an actor's assets with Dagster, in this process; print what was made and where the
    portrait lies.
    """
    from dagster import DagsterInstance

    from avatar_pipeline.orchestration.definitions import avatar_job
    from avatar_pipeline.orchestration.loggers import chosen_logger
    from avatar_pipeline.orchestration.runs import RunOptions, run_avatar
    from avatar_pipeline.pipeline.exports import exports_root
    from avatar_pipeline.pipeline.registry import STAGES

    dagster_home()
    store = actor_store()
    spec = store.spec(actor)
    settings = parse_settings(set_ or [], STAGES)
    require_assets(only or [])
    require_used(settings, only or [])
    if seed is not None:
        _require_seed_used(store, spec.name, only or [], seed)
        settings.setdefault(next(iter(STAGES)), {})["seed"] = seed
    tools = tools_config(device, preset, model)
    with DagsterInstance.get() as instance:
        from avatar_pipeline.orchestration.registration import register as register_actors

        for note in register_actors(instance, store, only=[spec.name]).notes.values():
            out.print(note, markup=False, highlight=False)
        options = RunOptions(only or [], settings, tools, chosen_logger())
        outcome = run_avatar(avatar_job(), instance, store, spec.name, options)
    table = Table(title=f"{spec.name}, run {outcome.run_id[:8]}", title_justify="left")
    for column in ("asset", "seconds", "seed", "digest", "verdict"):
        table.add_column(column, justify="right" if column in ("seconds", "seed") else "left")
    for row in outcome.rows:
        made = row.manifest
        table.add_row(
            row.asset,
            *(
                (f"{made.seconds:.1f}", str(made.root_seed), short(made.digest))
                if made
                else ("", "", "")
            ),
            row.verdict,
        )
    out.print(table)
    if outcome.problems:
        raise AvatarPipelineError("\n".join(outcome.problems))
    out.print(f"Done: {count(len(outcome.rows), 'asset')} of {spec.name}.", highlight=False)
    if STAGES[outcome.rows[-1].asset].exported:
        out.print(f"The portrait: {exports_root() / f'{spec.name}.jpg'}", highlight=False)
    out.print(f"All files: {store.actor_dir(spec.name)}", highlight=False)


def _require_seed_used(store: ActorStore, actor: str, only: Sequence[str], seed: int) -> None:
    """Raise StoreError for a root seed that nothing would take: the assets after the first take
    that of the version which is there.
    """
    from avatar_pipeline.pipeline.registry import STAGES

    first = next(iter(STAGES))
    if not only or first in only:
        return
    if store.has(actor, first):
        recorded = store.current(actor, first).root_seed
        if recorded == seed:
            return
        there = f"the {first} that is there has {recorded}"
    else:
        there = f"{actor} has no {first} yet"
    raise StoreError(
        f"--seed {seed} is the seed of the whole chain, which {first} hands on, and {there}: "
        f"{', '.join(only)} would not take it. Add --only {first} (it takes seconds), or leave "
        "--seed out."
    )


def replay(
    actor: Actor,
    asset: Annotated[str, typer.Argument(help="The asset to make again.")],
    device: Device = "auto",
    model: Model = None,
) -> None:
    """Make an asset again from its manifest, and compare digests. Stores nothing; fails when they
    differ.
    """
    from avatar_pipeline.pipeline.context import RunContext
    from avatar_pipeline.pipeline.models import Models
    from avatar_pipeline.pipeline.replay import differences, replayed_digest
    from avatar_pipeline.pipeline.replay import replay as replay_asset

    require_assets([asset])
    context = RunContext(
        models=Models(device, model=model),
        log=lambda line: out.print(line, markup=False, highlight=False),
    )
    recorded, product = replay_asset(actor_store(), actor, asset, context)
    digest = replayed_digest(recorded, product)
    out.print(f"recorded {recorded.digest}\nreplayed {digest}", highlight=False)
    if digest != recorded.digest:
        raise StoreError(
            f"{asset} of {actor} came out differently.\n"
            + "\n".join(differences(recorded, product))
        )
    out.print("[green]identical[/green]")
