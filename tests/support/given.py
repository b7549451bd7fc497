"""Inputs and contexts for calling a stage's `run` directly, with an analyzer and a session of the
test's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avatar_pipeline.actors.photos import Photo
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.stage import Inputs


def inputs_of(
    spec: ActorSpec,
    upstream: Mapping[str, Mapping[str, bytes]] | None = None,
    photos: Sequence[Photo] = (),
    seed: int = 5,
    checkpoints: Any = None,
) -> Inputs:
    return Inputs(spec, photos, upstream or {}, seed, dict, checkpoints)


@dataclass(frozen=True, kw_only=True)
class GivenContext(RunContext):
    """A context with one session for every actor."""

    given: Any = None

    def session(self, spec: ActorSpec) -> Any:
        return self.given

    def training_session(self, spec: ActorSpec) -> Any:
        return self.given if self.given.preset.base is None else super().training_session(spec)


def context_of(
    analyzer: FaceAnalyzer,
    session: Any = None,
    preset: Preset | None = None,
    log: Callable[[str], None] = print,
) -> RunContext:
    models = Models("cpu")
    models.analyzer = analyzer
    models.analyzer_name = analyzer.name
    return GivenContext(models=models, pinned_preset=preset, log=log, given=session)
