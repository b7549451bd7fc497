"""Switching on and off: automation."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from avatar_pipeline.cli._shared import out
from avatar_pipeline.orchestration.home import dagster_home


class SwitchState(StrEnum):
    """What to do with the switches."""

    on = "on"
    off = "off"
    status = "status"


def automation(
    state: Annotated[
        SwitchState, typer.Argument(help="on, off, or status, which changes nothing.")
    ] = SwitchState.status,
) -> None:
    """Switch all sensors and schedules on or off: new and changed actors are then found and made by
    themselves.
    """
    from dagster import DagsterInstance

    from avatar_pipeline.orchestration.automation.switches import daemon_is_running, switches

    home = dagster_home()
    with DagsterInstance.get() as instance:
        found = switches(
            instance,
            {SwitchState.on: True, SwitchState.off: False, SwitchState.status: None}[state],
        )
        alive = daemon_is_running(instance)
    table = Table()
    for column in ("", "kind", "name", "what it does"):
        table.add_column(column)
    for switch in found:
        table.add_row(
            "[green]on[/green]" if switch.on else "off", switch.kind, switch.name, switch.about
        )
    out.print(table, soft_wrap=False)
    if any(switch.on for switch in found) and not alive:
        out.print(
            f"[yellow]Nothing happens yet[/yellow]: no daemon is running on {home}. Start it with "
            "the UI (make ui), or alone: "
            "dagster-daemon run -w workspace.yaml",
            highlight=False,
        )
