"""The resources: where the actors are stored, and the models of a run (the device with its
diffusion pipelines, the face analyzer).
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
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.models import Models

# What a batch, or the service, works with, for the runs inside of its own: Dagster makes a new
# resource for every run, and lets no run replace one.
_LENT: ContextVar[RunContext | None] = ContextVar("lent_context", default=None)


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

    _context: RunContext | None = PrivateAttr(None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[ToolsResource]:
        """Start with a run: before any of its steps asks for a slot in a pool."""
        log, instance, run = context.log, context.instance, context.run
        lent = _LENT.get()
        self._context = lent or self._make(log.info if log else print)
        with ExitStack() as stack:
            if lent is None:
                stack.callback(self._context.models.close)
            if instance is not None and run is not None and instance.is_persistent:
                tag_own_run(instance, run)
                if lent is None:  # else the lender watches
                    stack.enter_context(slots_watched(instance))
            yield self

    def open(self) -> RunContext:
        """Return the run's context, whose models are the same ones each time."""
        if self._context is None:
            self._context = self._make(print)
        return self._context

    @contextmanager
    def lent(self, context: RunContext) -> Iterator[None]:
        """Have runs that start within this block, in this process, work in `context`, and leave its
        models open: what has been loaded stays.
        """
        token = _LENT.set(context)
        try:
            yield
        finally:
            _LENT.reset(token)

    def _make(self, log: Callable[[str], None]) -> RunContext:
        models = Models(
            self.device,
            self.analyzer,
            model=self.model,
            preset=self.preset,
            overrides=self.overrides,
        )
        return RunContext(models=models, log=log)
