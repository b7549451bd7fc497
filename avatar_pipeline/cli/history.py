"""Commands about versions: history, diff, restore, prune."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from avatar_pipeline.cli._shared import Actor, actor_store, out
from avatar_pipeline.core.digests import SHORT_DIGEST, short
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.orchestration.home import dagster_home

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from avatar_pipeline.actors.manifest import Manifest
    from avatar_pipeline.actors.store import ActorStore
    from avatar_pipeline.history.restore import Report

Asset = Annotated[str, typer.Argument(help="The asset, such as lora.")]


def history(
    actor: Actor,
    asset: Annotated[str, typer.Argument(help="Only this asset. Default: all.")] = "",
    json_: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.")
    ] = False,
) -> None:
    """List every version of an actor's assets, newest first, and what changed from one to the
    next.
    """
    from avatar_pipeline.history.versions import actor_history, format_value, main_metrics

    store = actor_store()
    _finish(store, actor)
    histories = actor_history(store, actor, asset)
    if json_:
        content = [
            {
                "asset": each.asset,
                "versions": [version.as_json() for version in each.versions],
                "damaged": each.damaged,
            }
            for each in histories
        ]
        typer.echo(json.dumps({"actor": actor, "assets": content}, indent=1))
        return
    for each in histories:
        table = Table(
            title=Text(f"{each.asset} of {actor}", style="bold"),
            title_justify="left",
            show_lines=len(each.versions) > 1,
        )
        for column in ("made (UTC)", "digest", "verdict", "metrics", "what changed"):
            table.add_column(column, overflow="fold")
        for version in each.versions:
            made = version.manifest
            mark = [" current"] if version.current else []
            mark += [
                f" restored {entry.created[:16].replace('T', ' ')} by {entry.by}"
                for entry in version.restored
            ]
            metrics = [
                f"{name} {format_value(value)}" for name, value in main_metrics(made).items()
            ]
            facts = f"seed {made.root_seed}, code {made.code_version}, {made.seconds:.1f} s" + (
                f", run {made.run_id[:8]}" if made.run_id else ""
            )
            table.add_row(
                Text(made.created[:19].replace("T", " ")),
                Text(
                    short(made.digest) + "".join(f"\n{line.strip()}" for line in mark),
                    style="green" if version.current else "",
                ),
                Text(version.verdict or "-"),
                Text("\n".join([*metrics, facts])),
                Text("\n".join(version.changes)),
            )
        out.print(table)
        for name, problem in each.damaged.items():
            out.print(
                f"{each.asset}/{name} cannot be read: {problem}",
                markup=False,
                highlight=False,
                style="red",
            )


def diff(
    actor: Actor,
    asset: Asset,
    old: Annotated[
        str, typer.Argument(help="Digest, or its beginning. Default: the version before.")
    ] = "",
    new: Annotated[
        str, typer.Argument(help="Digest, or its beginning. Default: the current version.")
    ] = "",
    picture: Annotated[
        Path | None,
        typer.Option(
            help="JPG or PNG with both versions side by side. Default: one in the present folder."
        ),
    ] = None,
) -> None:
    """Compare two versions of an asset: what went in, what came out, and their pictures side by
    side.
    """
    from upath import UPath

    from avatar_pipeline.actors.consent.record import require_consent
    from avatar_pipeline.actors.files import write_atomic
    from avatar_pipeline.actors.published_copies import refuse_if_revoked, remember
    from avatar_pipeline.history.diff import compare, pick, side_by_side
    from avatar_pipeline.history.versions import format_value
    from avatar_pipeline.imaging.images import encode_jpeg, encode_png

    if picture is not None and picture.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise StoreError(f"--picture {picture}: give a file that ends in .jpg or .png.")
    store = actor_store()
    before, now = pick(store, actor, asset, old, new)
    found = compare(store, before, now)
    title = (
        f"{asset} of {actor}: {short(before.digest)} ({before.created[:19]}Z) and "
        f"{short(now.digest)} ({now.created[:19]}Z)"
    )
    if before.digest == now.digest:
        out.print(f"{title} are the same version.", markup=False, highlight=False)
        return
    table = Table(title=Text(title), title_justify="left")
    for column in ("", "name", "old", "new", "change"):
        table.add_column(column, justify="right" if column == "change" else "left", overflow="fold")
    for kind, values in found.values.items():
        for place, value in enumerate(values):
            change = (
                ""
                if value.change is None or "seed" in kind + value.name
                else f"{value.change:+.4g}"
            )
            cut = SHORT_DIGEST if kind == "inputs" or value.name.endswith("sha256") else None
            shown = [format_value(each)[:cut] for each in (value.old, value.new)]
            table.add_row(
                *(Text(text) for text in (kind if place == 0 else "", value.name, *shown, change))
            )
        table.add_section()
    out.print(table)
    for file in found.files:
        out.print(f"{file.state:<8}{file.name}", markup=False, highlight=False)
        for line in file.lines:
            out.print(f"          {line}", markup=False, highlight=False)
    out.print(f"{found.same} files are the same.", highlight=False)
    spec = store.spec(actor)
    require_consent(spec, store.actor_dir(spec.name), "generate")
    sheet = side_by_side(store, before, now)
    if sheet is not None:
        path = picture or Path(f"{spec.name}_{asset}_{before.digest[:8]}_{now.digest[:8]}.jpg")
        encoded = (
            encode_png(sheet) if path.suffix.lower() == ".png" else encode_jpeg(sheet, quality=90)
        )
        remember(spec, path)
        write_atomic(UPath(path.absolute()), encoded)
        refuse_if_revoked(store.actor_dir(spec.name), path)
        out.print(f"Side by side: {path}", highlight=False)


def restore(
    actor: Actor,
    asset: Asset,
    digest: Annotated[str, typer.Argument(help="The version's digest, or its beginning.")],
    downstream: Annotated[
        bool,
        typer.Option(
            "--downstream",
            help="Restore too what was made from it, as far as that is in the store.",
        ),
    ] = False,
) -> None:
    """Make an older version of an asset current again, and report it to Dagster. Nothing is made
    again, nothing is lost.
    """
    from dagster import DagsterInstance

    from avatar_pipeline.history.restore import restore as restore_version
    from avatar_pipeline.history.restore import restore_downstream, result_lines

    dagster_home()
    store = actor_store()
    with DagsterInstance.get() as instance:
        from avatar_pipeline.orchestration.registration import register as register_actors

        register_actors(instance, store, only=[store.spec(actor).name])
        report = _reporting(instance, store)
        done = restore_version(store, actor, asset, digest, report)
        for line in result_lines(done):
            out.print(line, markup=False, highlight=False)
        if downstream:
            for other in restore_downstream(store, actor, asset, report):
                for line in result_lines(other):
                    out.print(line, markup=False, highlight=False)
        elif done.downstream:
            names = ", ".join(
                f"{version.asset} {short(version.digest)}" for version in done.downstream
            )
            out.print(
                f"Made from it, and in the store: {names}. To restore them too: "
                f"avatar-pipeline restore {actor} {asset} {short(done.manifest.digest)} "
                "--downstream",
                markup=False,
                highlight=False,
            )
        if done.stale:
            out.print(
                f"Downstream and made from other versions: {', '.join(done.stale)}.",
                highlight=False,
            )


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
            _finish(store, name)
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


def _finish(store: ActorStore, actor: str) -> None:
    """Carry out what a killed `restore` of this actor had begun. Loads Dagster only then."""
    from avatar_pipeline.core.errors import StoreError as Damaged
    from avatar_pipeline.history.restorations import interrupted
    from avatar_pipeline.history.restore import finish_interrupted
    from avatar_pipeline.pipeline.registry import STAGES

    name = store.spec(actor).name
    try:
        begun = [asset for asset in STAGES if interrupted(store, name, asset) is not None]
    except Damaged:
        return  # history and prune print which file it is
    if not begun:
        return
    from dagster import DagsterInstance

    dagster_home()
    with DagsterInstance.get() as instance:
        for manifest in finish_interrupted(store, name, _reporting(instance, store)):
            out.print(
                f"A restoration that had been killed was carried out: {manifest.asset} "
                f"{short(manifest.digest)}.",
                highlight=False,
            )


def _reporting(instance: DagsterInstance, store: ActorStore) -> Report:
    """Return a function that reports restored versions to this instance."""
    from avatar_pipeline.history.images import pictures
    from avatar_pipeline.orchestration.restore_events import report_restored

    def report(manifest: Manifest, by: str, when: str) -> None:
        folder = str(store.actor_dir(manifest.actor) / manifest.asset)
        report_restored(instance, manifest, pictures(store, manifest), folder, by, when)

    return report


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
