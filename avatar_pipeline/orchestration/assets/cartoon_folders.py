"""Which folders the assets of the cartoon generators' training use."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from pydantic import Field

from avatar_pipeline.core.home import PROJECT

BUILD = PROJECT / "build" / "cartoons"


class CartoonFolders(dg.ConfigurableResource):
    """The folders of one training. Never the generators that ship, unless a run's configuration
    names their folder.
    """

    build: str | None = Field(
        default=None,
        description="Folder of the intermediate results. Default: build/cartoons in the checkout.",
    )
    weights: str | None = Field(
        default=None,
        description="Folder of the finished generators. Default: `weights` in the build folder. "
        "With avatar_pipeline/cartoons/weights "
        "those that ship are written over.",
    )

    def build_folder(self) -> Path:
        """The build folder, made where it is missing."""
        folder = Path(self.build).expanduser().absolute() if self.build else BUILD
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def weights_folder(self) -> Path:
        """The folder of the finished generators, whether it exists or not."""
        return (
            Path(self.weights).expanduser().absolute()
            if self.weights
            else self.build_folder() / "weights"
        )
