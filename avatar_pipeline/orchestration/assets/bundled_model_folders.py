"""Which folders the assets of the embedded model's training use."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from pydantic import Field

from avatar_pipeline.core.home import PROJECT

BUILD = PROJECT / "build" / "bundled_model"


class TrainingFolders(dg.ConfigurableResource):
    """The folders of one training. Never the model that ships, unless a run's configuration names
    its folder.
    """

    build: str | None = Field(
        default=None,
        description="Folder of the intermediate results. Default: "
        "build/bundled_model in the checkout.",
    )
    model: str | None = Field(
        default=None,
        description="Folder of the finished pipeline. Default: `model` in the build folder. With "
        "avatar_pipeline/bundled_model/model the "
        "shipped weights are written over.",
    )

    def build_folder(self) -> Path:
        """The build folder, made where it is missing."""
        folder = Path(self.build).expanduser().absolute() if self.build else BUILD
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def model_folder(self) -> Path:
        """The folder of the finished pipeline, whether it exists or not."""
        return (
            Path(self.model).expanduser().absolute()
            if self.model
            else self.build_folder() / "model"
        )
