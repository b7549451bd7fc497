"""The resources: where the actors lie, and the tools of a run (the device with its diffusion
models, the face analyzer).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.orchestration.pools import slots_watched, tag_own_run
from avatar_pipeline.pipeline.models import Tools

# The tools of a batch, for the runs inside of its own. Dagster makes a resource anew for every run,
# and lets no run replace one.
_LENT: ContextVar[Tools | None] = ContextVar("lent_tools", default=None)


class StoreResource(dg.ConfigurableResource):
    """The actor store."""

    root: str | None = Field(
        default=None,
        description="Folder or fsspec URL of the actors. Default: AVATAR_DATA, else data/actors.",
    )

    def open(self) -> ActorStore:
        return ActorStore(self.root)


class ToolsResource(dg.ConfigurableResource):
    """The GPU and the face analyzer. Started once per run by the in-process executor, so a run
    loads each model once.
    """

    device: str = Field(
        default="auto",
        description='"auto" (cuda, else mps, else cpu) or one of them, such as "cuda:1".',
    )
    preset: str | None = Field(
        default=None, description="Preset to use instead of the one that actor.yaml names."
    )
    model: str | None = Field(
        default=None,
        description="Folder of a diffusers pipeline, or OWNER/NAME@REVISION of the hub, instead "
        "of the preset's own.",
    )
    overrides: dict[str, Any] = Field(
        default={},
        description="Values to use instead of the preset's, by field, such as "
        '{"steps": 40}: docs/models.md.',
    )
    analyzer: str = Field(
        default="dlib",
        description='Face analyzer: "dlib", or "insightface" when its weights are on disk.',
    )

    _tools: Tools | None = PrivateAttr(None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[ToolsResource]:
        """Start with a run: before any of its steps asks for a slot in a pool."""
        log, instance, run = context.log, context.instance, context.run
        lent = _LENT.get()
        self._tools = lent or self._make(log.info if log else print)
        with ExitStack() as stack:
            if lent is None:
                stack.callback(self._tools.close)
            if instance is not None and run is not None and instance.is_persistent:
                tag_own_run(instance, run)
                if lent is None:  # else whoever lends them watches
                    stack.enter_context(slots_watched(instance))
            yield self

    def open(self) -> Tools:
        """The run's tools; the same ones each time."""
        if self._tools is None:
            self._tools = self._make(print)
        return self._tools

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Runs that start within this block, in this process, use these very tools, and leave them
        open: what has been loaded stays.
        """
        token = _LENT.set(self.open())
        try:
            yield
        finally:
            _LENT.reset(token)

    def _make(self, log: Callable[[str], None]) -> Tools:
        return Tools(self.device, self.model, self.analyzer, log, self.preset, self.overrides)
