"""Tokens of the HTTP service: token new, token list, token revoke."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

token = typer.Typer(help="Bearer tokens of the HTTP service.", no_args_is_help=True)
Name = Annotated[
    str, typer.Argument(help="Whose it is; it stands in the access log and on the jobs.")
]


@token.command()
def new(name: Name) -> None:
    """Make a token and print it, this once: only its hash is kept."""
    from avatar_pipeline.service.http.tokens import new_token
    from avatar_pipeline.service.settings import from_environment

    typer.echo(new_token(from_environment().folder, name))
    typer.echo("Keep it: it is not shown again. A running service knows it at once.", err=True)


@token.command(name="list")
def list_tokens() -> None:
    """List the tokens by name, with the day on which they were made."""
    from avatar_pipeline.service.http.tokens import load
    from avatar_pipeline.service.settings import from_environment

    tokens = load(from_environment().folder)
    if not tokens:
        typer.echo(
            "There are no tokens: the service listens on loopback only. avatar-pipeline "
            "token new NAME makes one."
        )
        return
    table = Table("token", "made")
    for entry in tokens:
        table.add_row(entry.name, f"{entry.created:%Y-%m-%d %H:%M} UTC")
    Console().print(table)


@token.command()
def revoke(name: Name) -> None:
    """Take a token back: requests with it are refused at once."""
    from avatar_pipeline.service.http.tokens import revoke as take_back
    from avatar_pipeline.service.settings import from_environment

    take_back(from_environment().folder, name)
    typer.echo(f"{name} is revoked.")
