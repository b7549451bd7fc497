"""The command line: avatar-pipeline register | new-actor | run | lineage | replay | preflight | fetch | doctor | ui."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from avatar_pipeline.errors import AvatarPipelineError, StoreError
from avatar_pipeline.home import PROJECT, dagster_home

if TYPE_CHECKING:
    from avatar_pipeline.actors.store import ActorStore

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
out = Console(soft_wrap=True)

Actor = Annotated[str, typer.Argument(help="The actor's name: the name of its folder.")]
Device = Annotated[str, typer.Option(help="auto, cuda, cuda:1, mps or cpu.")]
Model = Annotated[
    str | None, typer.Option(help="Folder of a diffusers pipeline, or OWNER/NAME@REVISION, instead of the preset's own.")
]


@app.command()
def register() -> None:
    """Tell Dagster which actors there are, and in which version their inputs are. Run it again at any time."""
    from dagster import DagsterInstance

    from avatar_pipeline.definitions import register as register_actors

    home = dagster_home()
    store = _store()
    with DagsterInstance.get() as instance:
        done = register_actors(instance, store)
    out.print(
        f"{len(store.names())} actors, {len(done.added)} new, {len(done.changed)} changed inputs. DAGSTER_HOME={home}",
        highlight=False,
    )
    for actor, problem in done.problems.items():
        out.print(f"[yellow]{actor} cannot run yet[/yellow]: ", end="")
        out.print(problem, markup=False, highlight=False)


@app.command()
def new_actor(
    name: Actor,
    description: Annotated[str, typer.Option(help="The person in words: ethnicity or appearance, age, gender, features.")],
    photos: Annotated[Path | None, typer.Option(help="Folder with 10 to 20 photographs, which are copied.")] = None,
    likeness: Annotated[str, typer.Option(help="real (a living person: needs consent) or synthetic.")] = "synthetic",
    framing: Annotated[str, typer.Option(help="full_body, half_body or headshot.")] = "headshot",
) -> None:
    """Make the folder of a new actor, and register it."""
    from upath import UPath

    from avatar_pipeline.actors.creation import create_actor

    folder, warnings = create_actor(
        _store(), name, description=description, photos=UPath(photos) if photos else None, likeness=likeness, framing=framing
    )
    out.print(f"Made {folder}", highlight=False)
    for warning in warnings:
        out.print(f"warning: {warning}", markup=False, highlight=False)
    register()


@app.command()
def run(
    actor: Actor,
    only: Annotated[list[str] | None, typer.Option(help="Only this asset; may be given several times.")] = None,
    seed: Annotated[int | None, typer.Option(help="Root seed; -1 draws one. Default: what actor.yaml says.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="ASSET.SETTING=VALUE; may be given several times.")] = None,
    device: Device = "auto",
    preset: Annotated[str | None, typer.Option(help="Preset to use instead of the one that actor.yaml names.")] = None,
    model: Model = None,
) -> None:
    """Make an actor's assets with Dagster, in this process; print what was made and where the portrait lies."""
    from dagster import DagsterInstance

    from avatar_pipeline.actors.export import exports_root
    from avatar_pipeline.running import run_avatar
    from avatar_pipeline.stages.chain import STAGES

    dagster_home()
    store = _store()
    spec = store.spec(actor)
    settings = _parse_settings(set_ or [], STAGES)
    if seed is not None:
        settings.setdefault(next(iter(STAGES)), {})["seed"] = seed
    if unknown := [asset for asset in only or [] if asset not in STAGES]:
        raise StoreError(f"There is no asset {unknown[0]!r}. Assets: {', '.join(STAGES)}.")
    tools = {"device": device} | ({"preset": preset} if preset else {}) | ({"model": model} if model else {})
    with DagsterInstance.get() as instance:
        from avatar_pipeline.definitions import register as register_actors

        register_actors(instance, store, only=[spec.name])
        outcome = run_avatar(instance, store, spec.name, only=only or [], settings=settings, tools=tools)
    table = Table(title=f"{spec.name}, run {outcome.run_id[:8]}", title_justify="left")
    for column in ("asset", "seconds", "seed", "digest", "verdict"):
        table.add_column(column, justify="right" if column in ("seconds", "seed") else "left")
    for row in outcome.rows:
        made = row.manifest
        table.add_row(
            row.asset, *((f"{made.seconds:.1f}", str(made.root_seed), made.digest[:12]) if made else ("", "", "")), row.verdict
        )
    out.print(table)
    if outcome.problems:
        raise AvatarPipelineError("\n".join(outcome.problems))
    if outcome.rows[-1].asset == "liveportrait_export":
        out.print(f"The portrait: {exports_root() / f'{spec.name}.jpg'}", highlight=False)
    out.print(f"All files: {store.actor_dir(spec.name)}", highlight=False)


@app.command()
def lineage(actor: Actor) -> None:
    """Print where an actor's portrait comes from: inputs, seeds, models, digests."""
    from avatar_pipeline.lineage import lineage as lineage_tree

    out.print(lineage_tree(_store(), actor), highlight=False, soft_wrap=False)


@app.command()
def replay(
    actor: Actor,
    asset: Annotated[str, typer.Argument(help="The asset to make again.")],
    device: Device = "auto",
    model: Model = None,
) -> None:
    """Make an asset again from its manifest, and compare digests. Stores nothing; fails when they differ."""
    from avatar_pipeline.stages.chain import STAGES
    from avatar_pipeline.stages.produce import differences
    from avatar_pipeline.stages.produce import replay as replay_asset
    from avatar_pipeline.stages.tools import Tools

    if asset not in STAGES:
        raise StoreError(f"There is no asset {asset!r}. Assets: {', '.join(STAGES)}.")
    tools = Tools(device, model, "dlib", lambda line: out.print(line, markup=False, highlight=False))
    recorded, product = replay_asset(_store(), actor, asset, tools)
    out.print(f"recorded {recorded.digest}\nreplayed {product.digest}", highlight=False)
    if product.digest != recorded.digest:
        raise StoreError(f"{asset} of {actor} came out differently.\n" + "\n".join(differences(recorded, product)))
    out.print("[green]identical[/green]")


@app.command()
def preflight(
    paths: Annotated[
        list[Path], typer.Argument(help="Picture files, or folders, which are searched to their depths.", show_default=False)
    ],
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object (docs/preflight.md) instead of tables.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with all pictures and hints, one HTML file by itself.")
    ] = None,
    annotate: Annotated[Path | None, typer.Option(help="Folder for pictures that show face, landmarks, crop and checks.")] = None,
    analyzer: Annotated[str, typer.Option(help="dlib, or insightface as in LivePortrait.")] = "dlib",
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one a core, for a folder of that size.")] = None,
) -> None:
    """Would LivePortrait animate these pictures well? Judge each by every readiness check, and say how to mend it.

    Exit code: 0 all pass; 1 the worst is a warning; 2 a picture has an error or cannot be read, or the command could not run.
    """
    from avatar_pipeline.preflight.run import preflight as look

    try:
        code = look(paths, as_json=json_, report=report, annotate=annotate, analyzer=analyzer, jobs=jobs)
    except AvatarPipelineError as error:
        Console(stderr=True, soft_wrap=True).print(f"Error: {error}", markup=False, highlight=False, style="red")
        code = 2
    raise typer.Exit(code)


@app.command()
def fetch(
    preset: Annotated[str, typer.Argument(help="The preset whose weights to fetch.")],
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="I have read the licence of the weights, and accept it.")
    ] = False,
) -> None:
    """Fetch a preset's weights from the Hugging Face hub into its cache. Runs never download anything."""
    from avatar_pipeline.diffusion.hub import fetch as fetch_weights
    from avatar_pipeline.diffusion.licences import accept_licence as accept
    from avatar_pipeline.diffusion.licences import require_licence
    from avatar_pipeline.diffusion.overrides import preset_by_name

    chosen = preset_by_name(preset)
    if accept_licence and chosen.accept:
        out.print(f"Accepted: {chosen.licence}. On record in {accept(chosen)}", highlight=False)
    require_licence(chosen)
    out.print(f"licence: {chosen.licence}", markup=False, highlight=False)
    folder = fetch_weights(chosen, lambda line: out.print(line, markup=False, highlight=False))
    out.print(f"The weights: {folder}", highlight=False)


@app.command()
def doctor() -> None:
    """Tell device, models, licences and libraries, what is missing, and the command that mends it."""
    from avatar_pipeline.doctor import examine

    findings = examine(_store())
    for finding in findings:
        mark, colour = ("ok", "green") if not finding.mend else ("missing", "red") if finding.needed else ("optional", "yellow")
        out.print(f"[{colour}]{mark:<8}[/{colour}] [bold]{finding.what}[/bold]: ", end="", highlight=False)
        out.print(finding.state, markup=False, highlight=False)
        if finding.licence:
            out.print(f"{'':9}licence: {finding.licence}", markup=False, highlight=False)
        if finding.mend:
            out.print(f"{'':9}to mend it: {finding.mend}", markup=False, highlight=False)
    if missing := [finding for finding in findings if finding.mend and finding.needed]:
        raise AvatarPipelineError(
            "\n".join(f"{finding.what}: {finding.state}. To mend it: {finding.mend}" for finding in missing)
        )


@app.command()
def ui(port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000) -> None:
    """Open the Dagster UI, with its daemon, on the same instance."""
    dagster_home()
    dagster = shutil.which("dagster", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if dagster is None:
        raise AvatarPipelineError("The command `dagster` is not installed beside this Python. Mend it: make install")
    os.execv(dagster, [dagster, "dev", "-w", str(PROJECT / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port)])


def _store() -> ActorStore:
    """The actors' store. Imported late, like all that is heavy: a command starts with what it needs."""
    from avatar_pipeline.actors.store import ActorStore

    return ActorStore()


def _parse_settings(items: Sequence[str], assets: Any) -> dict[str, dict[str, Any]]:
    """ "lora.steps=40" and the like, values read as YAML."""
    import yaml

    settings: dict[str, dict[str, Any]] = {}
    for item in items:
        place, equals, value = item.partition("=")
        asset, dot, name = place.partition(".")
        if not equals or not dot or asset not in assets or name not in assets[asset].settings.model_fields:
            known = f" Settings of {asset}: {', '.join(assets[asset].settings.model_fields)}." if asset in assets else ""
            raise StoreError(f"--set {item!r}: give ASSET.SETTING=VALUE, with an asset of {', '.join(assets)}.{known}")
        settings.setdefault(asset, {})[name] = yaml.safe_load(value)
    return settings


def main(arguments: list[str] | None = None) -> None:
    """Entry point. What the user has to mend is printed as it is, without a traceback; the exit code is then 1."""
    try:
        app(arguments)
    except AvatarPipelineError as error:
        Console(stderr=True, soft_wrap=True).print(f"Error: {error}", markup=False, highlight=False, style="red")
        sys.exit(1)


if __name__ == "__main__":
    main()
