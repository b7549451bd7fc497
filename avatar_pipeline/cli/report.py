"""The command report: pages about what was made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatar_pipeline.cli._shared import actor_store, out, output_folder


def report(
    actor: Annotated[
        str, typer.Argument(help="Only this actor. Default: all, with an index.")
    ] = "",
    output: Annotated[
        Path | None, typer.Option(help="The folder for the pages. Default: build/report.")
    ] = None,
    price: Annotated[
        float, typer.Option(min=0, help="Price of an hour of the device, to show costs.")
    ] = 0.0,
) -> None:
    """Write a page about an actor, or about all of them: the chain, checks, curves, times,
    versions. HTML that needs no network.
    """
    from avatar_pipeline.report.write import write_actor, write_all

    store = actor_store()
    output = output or output_folder("report")
    if actor:
        out.print(f"The page: {write_actor(store, actor, output, price)}", highlight=False)
        return
    index, written = write_all(store, output, price)
    out.print(
        f"The index: {index}. {written} pages of actors were written, the others are as they were.",
        highlight=False,
    )
