"""Content credentials: verify, credentials new, credentials show."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from avatar_pipeline.cli._shared import actor_store, out
from avatar_pipeline.core.errors import AvatarPipelineError

if TYPE_CHECKING:
    from avatar_pipeline.content_credentials.verdict import Verdict

credentials = typer.Typer(
    help="The key and certificates that pictures are signed with.", no_args_is_help=True
)

# What `verify` ends with; docs/content-credentials.md.
SIGNED, INVALID, ABSENT, NOT_TRUSTED, UNREADABLE = range(5)
MEANING = {
    "trusted": "unchanged since it was signed, and one of the roots that you gave vouches for the "
    "signer",
    "valid": "unchanged since it was signed; no one here vouches for the signer",
    "invalid": "do not believe what it says of itself",
    "absent": "no credentials. That says nothing about where it comes from: every program that "
    "saves a picture again drops them",
}


def verify(
    file: Annotated[
        Path,
        typer.Argument(help="A JPEG, PNG, WebP or MP4 file, of anybody's.", show_default=False),
    ],
    trust: Annotated[
        list[Path] | None, typer.Option(help="PEM file with roots to trust; may be given again.")
    ] = None,
    json_: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object (docs/content-credentials.md) instead."),
    ] = False,
) -> None:
    """Report whether a picture's content credentials are Trusted, Valid, Invalid or absent, and
    what they say.

    Exit code: 0 Trusted, or Valid where no --trust was given; 1 Invalid; 2 absent; 3 Valid, and the
    signer is not among --trust; 4 the file cannot be examined, or the command could not run.
    """
    from avatar_pipeline.content_credentials.verify import read_media, read_roots
    from avatar_pipeline.content_credentials.verify import verify as examine
    from avatar_pipeline.core.digests import sha256_bytes

    try:
        data = read_media(file)
        verdict = examine(data, read_roots(trust or []))
        itself = sha256_bytes(data)
        known = _known({itself, *verdict.digests})
    except AvatarPipelineError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"Error: {error}", markup=False, highlight=False, style="red"
        )
        raise typer.Exit(UNREADABLE) from None
    if json_:
        found = {
            "file": str(file),
            "sha256": itself,
            **dataclasses.asdict(verdict),
            "own": _is_own(verdict),
            "known": known,
        }
        print(json.dumps(found, indent=1))
    else:
        _print(file, verdict, known)
        for place in known.get(itself, []):
            out.print(
                f"  {'this file':<13} is {place}: stored versions are not signed, copies are",
                markup=False,
                highlight=False,
            )
    codes = {
        "trusted": SIGNED,
        "valid": NOT_TRUSTED if trust else SIGNED,
        "invalid": INVALID,
        "absent": ABSENT,
    }
    raise typer.Exit(codes[verdict.state])


def _print(file: Path, verdict: Verdict, known: dict[str, list[str]]) -> None:
    from avatar_pipeline.content_credentials.watermark import DETECTION_SIGMAS

    colour = {"trusted": "green", "valid": "green", "invalid": "red", "absent": "yellow"}[
        verdict.state
    ]
    state = verdict.state if verdict.state == "absent" else verdict.state.capitalize()
    out.print(f"{file}: ", markup=False, highlight=False, end="")
    out.print(f"[bold {colour}]{state}[/bold {colour}]: {MEANING[verdict.state]}.", highlight=False)
    rows = [("wrong", problem) for problem in verdict.problems]
    if verdict.signer:
        own = "; this machine's own certificate" if _is_own(verdict) else ""
        rows.append(("signed by", f"{verdict.signer} (certificate {verdict.serial}{own})"))
    if verdict.made:
        clock = (
            "as a time stamp authority says" if verdict.stamped else "by the clock of the signer"
        )
        rows.append(("made", f"{verdict.made}, {clock}"))
    rows += [
        (name, value)
        for name, value in (("by", verdict.generator), ("kind", verdict.source))
        if value
    ]
    if verdict.xmp_source and verdict.xmp_source != verdict.source:
        rows.append(("XMP says", f"{verdict.xmp_source}: in a packet that anybody can write"))
    if verdict.watermark is not None and verdict.watermark >= DETECTION_SIGMAS:
        rows.append(
            (
                "watermark",
                f"avatar_pipeline's, by {verdict.watermark} standard deviations: a hint "
                "that it was made so, no proof",
            )
        )
    rows += [
        (name.replace("_", " "), f"{value}{_place(known, value)}")
        for name, value in verdict.lineage.items()
    ]
    rows += [
        (
            "ingredient",
            f"{each.name} ({each.relationship}): "
            f"{each.sha256 or 'no digest'}{_place(known, each.sha256)}",
        )
        for each in verdict.ingredients
    ]
    for name, value in rows:
        out.print(f"  {name:<13} {value}", markup=False, highlight=False)


def _place(known: dict[str, list[str]], digest: Any) -> str:
    return (
        f", here {'; '.join(known[digest])}" if isinstance(digest, str) and digest in known else ""
    )


def _known(digests: set[str]) -> dict[str, list[str]]:
    """Return which files of the actors at hand have the digests. A store that is not there, or is
    damaged, knows none.
    """
    from avatar_pipeline.history.versions import files_by_sha256

    try:
        return files_by_sha256(actor_store(), digests)
    except AvatarPipelineError:
        return {}


def _is_own(verdict: Verdict) -> bool:
    """Return whether it was signed with what this machine signs with now."""
    from avatar_pipeline.content_credentials import keys

    try:
        return keys.exist() and verdict.serial == str(keys.current().certificates[0].serial_number)
    except AvatarPipelineError:
        return False


@credentials.command()
def new(
    name: Annotated[
        str,
        typer.Option(
            help="Your organisation, as it shall stand in every picture. Not a person's name."
        ),
    ] = "",
) -> None:
    """Make a self-signed pair for trying out: a key, its certificate, and a root that others can
    choose to trust.
    """
    from avatar_pipeline.content_credentials import keys, self_signed

    folder = keys.make_pair(name or keys.ORGANISATION)
    key, chain, root = (
        folder / name for name in (self_signed.KEY, self_signed.CHAIN, self_signed.ROOT)
    )
    typer.echo(f"Made {key}, {chain} and {root}.")
    typer.echo(f"Pictures are signed with it from now on. Those who shall trust them need {root}.")
    if any(keys.own_places()):
        typer.echo(
            f"Not yet: {keys.KEY_VARIABLE} and {keys.CHAIN_VARIABLE} are set, and come first.",
            err=True,
        )


@credentials.command()
def show() -> None:
    """Print which key and certificates pictures are signed with, until when, and who trusts
    them.
    """
    from avatar_pipeline.content_credentials import keys, self_signed

    if not keys.exist():
        typer.echo(
            "There are none yet: a self-signed pair is made when the first picture is signed, or "
            "by: avatar-pipeline credentials new"
        )
        return
    found = keys.current()
    origin = (
        f"named by {keys.KEY_VARIABLE} and {keys.CHAIN_VARIABLE}"
        if found.own
        else "of this home folder"
    )
    root = found.chain_path.parent / self_signed.ROOT
    trusted = (
        "no one, until they are given its root: avatar-pipeline verify FILE --trust "
        f"{found.chain_path if found.own else root}"
        if found.self_signed
        else "all who trust the issuer of its last certificate"
    )
    rows = {
        "key": f"{found.key_path}, {origin}",
        "chain": str(found.chain_path),
        "signer": found.signer,
        "serial": str(found.certificates[0].serial_number),
        "valid until": f"{found.until:%Y-%m-%d %H:%M} UTC; pictures signed with it read Invalid "
        "after that",
        "trusted by": trusted,
    }
    for name, value in rows.items():
        out.print(f"{name:<12} {value}", markup=False, highlight=False)
