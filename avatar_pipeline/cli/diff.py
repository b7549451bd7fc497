"""The command diff: two versions of an asset, compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from avatar_pipeline.cli._shared import Actor, Asset, actor_store, out, output_folder
from avatar_pipeline.core.digests import SHORT_DIGEST, short
from avatar_pipeline.core.errors import StoreError

if TYPE_CHECKING:
    pass


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
            help="JPG or PNG with both versions side by side. Default: one in build/diff."
        ),
    ] = None,
) -> None:
    """Compare two versions of an asset: what went in, what came out, and their pictures side by
    side.
    """
    from upath import UPath

    from avatar_pipeline.actors.consent.standing import require_consent
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
        path = picture or output_folder("diff") / (
            f"{spec.name}_{asset}_{before.digest[:8]}_{now.digest[:8]}.jpg"
        )
        encoded = (
            encode_png(sheet) if path.suffix.lower() == ".png" else encode_jpeg(sheet, quality=90)
        )
        remember(spec, path)
        write_atomic(UPath(path.absolute()), encoded)
        refuse_if_revoked(store.actor_dir(spec.name), path)
        out.print(f"Side by side: {path}", highlight=False)
