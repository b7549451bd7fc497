"""Which folders the assets of a training use: of the bundled model, of the cartoon generators."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import dagster as dg
from pydantic import Field

from avatar_pipeline.core.home import PROJECT

BUILD = PROJECT / "build"


class TrainingFolders(dg.ConfigurableResource):
    """The folders of one training. Never what ships, unless a run's configuration names its folder.

    training: its name, which is its build folder's. finished: the field, and in the build folder
    the folder, of what is finished.
    """

    training: ClassVar[str]
    finished: ClassVar[str]

    build: str | None = Field(
        default=None,
        description="Folder of the intermediate results. Default: build/bundled_model or "
        "build/cartoons in the checkout.",
    )

    @classmethod
    def default_build(cls) -> Path:
        """Return the build folder where a run's configuration names none."""
        return BUILD / cls.training

    def build_folder(self) -> Path:
        """Return the build folder, made where it is missing."""
        folder = _absolute(self.build) if self.build else self.default_build()
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def finished_folder(self) -> Path:
        """Return the folder of what is finished, whether it exists or not."""
        given = getattr(self, self.finished)
        return _absolute(given) if given else self.build_folder() / self.finished


class BundledModelFolders(TrainingFolders):
    """The folders of one training of the bundled model."""

    training = "bundled_model"
    finished = "model"

    model: str | None = Field(
        default=None,
        description="Folder of the finished pipeline. Default: `model` in the build folder. With "
        "avatar_pipeline/bundled_model/model the "
        "shipped weights are written over.",
    )


class CartoonFolders(TrainingFolders):
    """The folders of one training of the cartoon generators."""

    training = "cartoons"
    finished = "weights"

    weights: str | None = Field(
        default=None,
        description="Folder of the finished generators. Default: `weights` in the build folder. "
        "With avatar_pipeline/cartoons/weights "
        "those that ship are written over.",
    )


def _absolute(folder: str) -> Path:
    return Path(folder).expanduser().absolute()
