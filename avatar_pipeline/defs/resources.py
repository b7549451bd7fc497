"""The resources: where the actors lie, and the tools of a run (the device with its diffusion models, the face analyzer)."""

from __future__ import annotations

import dagster as dg
from pydantic import Field, PrivateAttr

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.stages.tools import Tools


class StoreResource(dg.ConfigurableResource):
    """The actor store."""

    root: str | None = Field(
        default=None, description="Folder or fsspec URL of the actors. Default: AVATAR_DATA, else data/actors."
    )

    def open(self) -> ActorStore:
        return ActorStore(self.root)


class ToolsResource(dg.ConfigurableResource):
    """The GPU and the face analyzer. Started once per run by the in-process executor, so a run loads each model once."""

    device: str = Field(default="auto", description='"auto" (cuda, else mps, else cpu) or one of them, such as "cuda:1".')
    model: str | None = Field(default=None, description="Folder of a diffusers pipeline to use instead of the preset's own.")
    analyzer: str = Field(default="dlib", description='Face analyzer: "dlib", or "insightface" when its weights are on disk.')

    _tools: Tools | None = PrivateAttr(None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        log = context.log
        self._tools = Tools(self.device, self.model, self.analyzer, log.info if log else print)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        self.open().close()

    def open(self) -> Tools:
        """The run's tools; the same ones each time."""
        if self._tools is None:
            self._tools = Tools(self.device, self.model, self.analyzer, print)
        return self._tools
