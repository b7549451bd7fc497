"""Setting up: fetch, ui."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from avatar_pipeline.cli._shared import out
from avatar_pipeline.core.errors import AvatarPipelineError
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.orchestration.home import dagster_home


def fetch(
    preset: Annotated[str, typer.Argument(help="The preset whose weights to fetch.")],
    accept_licence: Annotated[
        bool,
        typer.Option(
            "--accept-licence", help="I have read the licence of the weights, and accept it."
        ),
    ] = False,
    without_training_base: Annotated[
        bool,
        typer.Option(
            "--without-training-base",
            help="Leave out the model that LoRAs are trained on, where it is not the one that "
            "draws.",
        ),
    ] = False,
    update_revision: Annotated[
        bool,
        typer.Option(
            "--update-revision",
            help="Take the present commit of the models' branch main, and record it.",
        ),
    ] = False,
) -> None:
    """Fetch a preset's weights from the Hugging Face hub into its cache: the model that draws, and
    the one that LoRAs are trained on. Runs never download anything.
    """
    from avatar_pipeline.diffusion.hub import fetch as fetch_weights
    from avatar_pipeline.diffusion.hub import record_unpinned, update_revisions
    from avatar_pipeline.diffusion.licences import accept_licence as accept
    from avatar_pipeline.diffusion.licences import require_licence
    from avatar_pipeline.diffusion.overrides import preset_by_name, unpinned_models
    from avatar_pipeline.diffusion.presets import get_preset

    def say(line: str) -> None:
        out.print(line, markup=False, highlight=False)

    table = get_preset(preset)
    unpinned = unpinned_models(preset)
    if accept_licence and table.accept:
        say(f"Accepted: {table.licence}. On record in {accept(table)}")
    require_licence(table)
    say(f"licence: {table.licence}")
    for model in unpinned:
        record_unpinned(table, model, say)
    chosen = preset_by_name(preset)
    if update_revision:
        update_revisions(chosen, say)
        chosen = preset_by_name(preset)
    for folder in fetch_weights(chosen, say, training_base=not without_training_base):
        say(f"The weights: {folder}")


def ui(port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000) -> None:
    """Open the Dagster UI, with its daemon, on the same instance."""
    from dagster import DagsterInstance

    from avatar_pipeline.orchestration.pools import free_slots_of_dead_runs

    dagster_home()
    # runs that were killed with the UI before this one hold their slots, and no run is started
    with DagsterInstance.get() as instance:
        free_slots_of_dead_runs(instance)
    dagster = shutil.which(
        "dagster", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )
    if dagster is None:
        raise AvatarPipelineError(
            "The command `dagster` is not installed beside this Python. Fix it: make install"
        )
    os.execv(
        dagster,
        [dagster, "dev", "-w", str(PROJECT / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port)],
    )
