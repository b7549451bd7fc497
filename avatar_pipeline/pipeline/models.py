"""The models that stages share: the face analyzer and the diffusion pipelines, each loaded once and
only when a stage asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.diffusion.loaded import LoadedPipeline
from avatar_pipeline.diffusion.overrides import resolve_preset
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer


class Models:
    """The cache of loaded models of a run, or of a process that executes many.

    device: "auto", "cuda", "cuda:1", "mps" or "cpu". analyzer: "dlib" or "insightface". model: a
    folder or OWNER/NAME@REVISION to load instead of the preset's own. preset, overrides: what the
    run chooses instead of actor.yaml.
    """

    def __init__(
        self,
        device: str = "auto",
        analyzer: str = "dlib",
        *,
        model: str | None = None,
        preset: str | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        self.device = device
        self.analyzer_name = analyzer
        self.run_preset = preset
        self.run_values = {**(overrides or {}), **({"model": model} if model else {})}
        self._loaded: dict[tuple[str | float, ...], LoadedPipeline] = {}

    @cached_property
    def analyzer(self) -> FaceAnalyzer:
        """The face analyzer. Raises ModelError when its models are missing."""
        return get_analyzer(self.analyzer_name)

    def preset(self, spec: ActorSpec) -> Preset:
        """Return the preset for an actor: the run's configuration beats the environment, which
        beats actor.yaml, which beats the table.

        Raises ModelError for what is not usable.
        """
        return resolve_preset(
            spec.preset,
            spec.model,
            f"actor.yaml of {spec.name}",
            run_preset=self.run_preset,
            run_values=self.run_values,
        )

    def pipeline(self, preset: Preset) -> LoadedPipeline:
        """Return the pipeline of a preset; it is loaded at first use and kept until `close`.

        Presets that differ in numbers only, such as steps, share the loaded weights.
        """
        weights = _weights(preset)
        if weights not in self._loaded:
            self._loaded[weights] = LoadedPipeline(preset, self.device)
        return self._loaded[weights]

    def close(self) -> None:
        """Give the memory back."""
        while self._loaded:
            self._loaded.popitem()[1].close()


def _weights(preset: Preset) -> tuple[str | float, ...]:
    """Return what decides which pipeline is loaded, and with which scheduler in it."""
    return (
        preset.name,
        preset.model,
        preset.revision,
        preset.dtype,
        preset.scheduler,
        preset.flow_shift,
    )
