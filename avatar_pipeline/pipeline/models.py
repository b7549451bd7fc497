"""The tools that stages share: the face analyzer and the diffusion models, each loaded once and
only when a stage asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from PIL import Image

from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.diffusion.overrides import resolve_preset
from avatar_pipeline.diffusion.presets import Preset
from avatar_pipeline.diffusion.session import GpuSession
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.pipeline.progress import Progress


class Tools:
    """One set of tools per run.

    device: "auto", "cuda", "cuda:1", "mps" or "cpu". model: a folder or OWNER/NAME@REVISION to load
    instead of the preset's own.
    analyzer: "dlib" or "insightface". log: takes one line of progress. preset, overrides: what the
    run chooses instead of actor.yaml.
    """

    def __init__(
        self,
        device: str,
        model: str | None,
        analyzer: str,
        log: Callable[[str], None],
        preset: str | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        self.device = device
        self.log = log
        # takes previews of pictures that are being drawn
        self.show: Callable[[Image.Image, str], None] | None = None
        # asked after every step; a drawing then ends with Cancelled
        self.cancelled: Callable[[], bool] = lambda: False
        # told every step: its number, and of how many
        self.stepped: Callable[[int, int], None] | None = None
        # takes a preview about every second, while somebody waits
        self.live: Callable[[Image.Image], None] | None = None
        # asked at every step; raises once consent does not hold any more
        self.allowed: Callable[[], None] = lambda: None
        self.run_preset = preset
        self.run_values = {**(overrides or {}), **({"model": model} if model else {})}
        self.analyzer_name = analyzer
        self._pinned: Preset | None = None
        self._sessions: dict[str, GpuSession] = {}

    @cached_property
    def analyzer(self) -> FaceAnalyzer:
        """The face analyzer. Raises ModelError when its models are missing."""
        return get_analyzer(self.analyzer_name)

    def preset(self, spec: ActorSpec) -> Preset:
        """The preset for an actor: the run's configuration beats the environment, which beats
        actor.yaml, which beats the table.

        Raises ModelError for what is not usable.
        """
        if self._pinned is not None:
            return self._pinned
        return resolve_preset(
            spec.preset,
            spec.model,
            f"actor.yaml of {spec.name}",
            run_preset=self.run_preset,
            run_values=self.run_values,
        )

    @contextmanager
    def pinned(self, preset: Preset) -> Iterator[None]:
        """Use this preset for every actor while the block runs: a replay's."""
        self._pinned = preset
        try:
            yield
        finally:
            self._pinned = None

    def session(self, spec: ActorSpec) -> GpuSession:
        """The session of an actor's preset; its pipeline is loaded at first use and kept until
        `close`.

        Actors whose presets differ in numbers only, such as steps, share the loaded weights.
        """
        preset = self.preset(spec)
        if repr(preset) not in self._sessions:
            same = next(
                (
                    session
                    for session in self._sessions.values()
                    if _weights(session.preset) == _weights(preset)
                ),
                None,
            )
            self._sessions[repr(preset)] = GpuSession(preset, self.device, shared=same)
        session = self._sessions[repr(preset)]
        session.log = self.log
        session.allowed = lambda: self.allowed()
        session.watch = Progress(
            self.log, self.show, lambda: self.cancelled(), self._step, self.live
        )
        return session

    @contextmanager
    def allowed_by(self, look: Callable[[], None]) -> Iterator[None]:
        """Ask `look` too at every step of drawing and training while the block runs
        (actors.consent.watched).
        """
        before = self.allowed

        def both() -> None:
            before()
            look()

        self.allowed = both
        try:
            yield
        finally:
            self.allowed = before

    def _step(self, number: int, total: int) -> None:
        self.allowed()
        if self.stepped is not None:  # whoever asks for the session may say so afterwards
            self.stepped(number, total)

    def model_sha256(self, spec: ActorSpec) -> str:
        """The hash of the weights that `session` would load. Raises ModelError when they are
        missing.
        """
        return self.session(spec).model_sha256

    def close(self) -> None:
        """Give the memory back. Sessions that use another's weights go before it."""
        while self._sessions:
            self._sessions.popitem()[1].close()


def _weights(preset: Preset) -> tuple[str | float, ...]:
    """What decides which pipeline is loaded, and with which sampler in it."""
    return (
        preset.name,
        preset.model,
        preset.revision,
        preset.dtype,
        preset.scheduler,
        preset.flow_shift,
    )
