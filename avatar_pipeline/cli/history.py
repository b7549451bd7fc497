"""The command history: every version of an actor's assets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from avatar_pipeline.cli._shared import Actor, actor_store, out
from avatar_pipeline.cli.restore import finish_killed_restore
from avatar_pipeline.core.digests import short

if TYPE_CHECKING:
    pass


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
    finish_killed_restore(store, actor)
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
