"""What several commands share: the console, the arguments that mean the same everywhere, the
actors' store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from avatar_pipeline.core.errors import StoreError

if TYPE_CHECKING:
    from avatar_pipeline.actors.store import ActorStore

out = Console(soft_wrap=True)

Actor = Annotated[str, typer.Argument(help="The actor's name: the name of its folder.")]
Asset = Annotated[str, typer.Argument(help="The asset, such as lora.")]
Device = Annotated[str, typer.Option(help="auto, cuda, cuda:1, mps or cpu.")]
Model = Annotated[
    str | None,
    typer.Option(
        help="Folder of a diffusers pipeline, or OWNER/NAME@REVISION, instead of the preset's own."
    ),
]


def actor_store() -> ActorStore:
    """Return the actors' store. Imported late, like all that is heavy: a command starts with what
    it needs.
    """
    from avatar_pipeline.actors.store import ActorStore

    return ActorStore()


def output_folder(name: str) -> Path:
    """Return build/NAME in the present folder, made, for pictures and pages of people. Git takes
    none of it, whatever repository it lies in: the folder holds a .gitignore of its own.
    """
    folder = Path("build") / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    return folder


def tools_config(device: str, preset: str | None, model: str | None) -> dict[str, str]:
    """Return the run configuration of the resource `tools`: what was given of these."""
    chosen = {"preset": preset, "model": model}
    return {"device": device} | {name: value for name, value in chosen.items() if value}


def require_assets(names: Sequence[str]) -> None:
    """Raise StoreError for a name that is no asset's."""
    from avatar_pipeline.history.versions import require_asset

    for name in names:
        require_asset(name)


def require_used(settings: Iterable[str], only: Sequence[str]) -> None:
    """Raise StoreError when settings are for an asset that is not among those to be made: they
    would be dropped without a word. only: empty for all.
    """
    for asset in settings:
        if only and asset not in only:
            raise StoreError(
                f"--set {asset}...: {asset} is not made by --only {' --only '.join(only)}, and the "
                f"setting would count for nothing. Add --only {asset}, or leave --set out."
            )


def parse_settings(items: Sequence[str], assets: Any) -> dict[str, dict[str, Any]]:
    """Return the settings that "lora.max_train_steps=40" and the like, values read as YAML."""
    import yaml

    from avatar_pipeline.core.renamed import SETTINGS, with_present_names

    settings: dict[str, dict[str, Any]] = {}
    for item in items:
        place, equals, value = item.partition("=")
        asset, dot, name = place.partition(".")
        name = next(iter(with_present_names({name: value}, SETTINGS.get(asset, {}), "--set", item)))
        if (
            not equals
            or not dot
            or asset not in assets
            or name not in assets[asset].settings.model_fields
        ):
            known = (
                f" Settings of {asset}: {', '.join(assets[asset].settings.model_fields)}."
                if asset in assets
                else ""
            )
            raise StoreError(
                f"--set {item!r}: give ASSET.SETTING=VALUE, with an asset of "
                f"{', '.join(assets)}.{known}"
            )
        settings.setdefault(asset, {})[name] = yaml.safe_load(value)
    return settings
