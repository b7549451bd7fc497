"""Looking: lineage, preflight, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from avatar_pipeline.cli._shared import Actor, actor_store, out
from avatar_pipeline.core.errors import AvatarPipelineError


def lineage(actor: Actor) -> None:
    """Print where an actor's portrait comes from: inputs, seeds, models, digests."""
    from avatar_pipeline.history.lineage import lineage as lineage_tree

    out.print(lineage_tree(actor_store(), actor), highlight=False, soft_wrap=False)


def preflight(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Picture files, or folders, which are searched to their depths.",
            show_default=False,
        ),
    ],
    json_: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object (docs/preflight.md) instead of tables."),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a page with all pictures and hints, one HTML file by itself."),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures that show face, landmarks, crop and checks."),
    ] = None,
    for_: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            help="Further animators (docs/animators.md), which are replayed beside LivePortrait. "
            "May be given again, or be a list with commas.",
        ),
    ] = None,
    analyzer: Annotated[
        str, typer.Option(help="dlib, or insightface as in LivePortrait.")
    ] = "dlib",
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes. Default: one a core, for a folder of that size."),
    ] = None,
) -> None:
    """Check whether LivePortrait would animate these pictures well: judge each by every readiness
    check, and print how to fix it.

    Exit code: 0 all pass; 1 the worst is a warning; 2 a picture has an error or cannot be read, or
    the command could not run.
    """
    from avatar_pipeline.faces.animators.seen import animators_named
    from avatar_pipeline.preflight.run import preflight as examine

    try:
        code = examine(
            paths,
            as_json=json_,
            report=report,
            annotate=annotate,
            analyzer=analyzer,
            jobs=jobs,
            animators=[animator.name for animator in animators_named(for_ or [])],
        )
    except AvatarPipelineError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"Error: {error}", markup=False, highlight=False, style="red"
        )
        code = 2
    raise typer.Exit(code)


def doctor() -> None:
    """Report device, models, licences and libraries, what is missing, and the command that fixes
    it.
    """
    from avatar_pipeline.cli.doctor import conclusion, examine

    findings = examine(actor_store())
    for finding in findings:
        mark, colour = (
            ("ok", "green")
            if not finding.fix
            else ("missing", "red")
            if finding.needed
            else ("optional", "yellow")
        )
        out.print(
            f"[{colour}]{mark:<8}[/{colour}] [bold]{finding.what}[/bold]: ", end="", highlight=False
        )
        out.print(finding.state, markup=False, highlight=False)
        if finding.licence:
            out.print(f"{'':9}licence: {finding.licence}", markup=False, highlight=False)
        if finding.fix:
            out.print(f"{'':9}to fix it: {finding.fix}", markup=False, highlight=False)
    closing = conclusion(findings)
    if any(finding.fix and finding.needed for finding in findings):
        raise AvatarPipelineError(closing)
    out.print(closing, markup=False, highlight=False)
