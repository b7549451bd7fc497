"""The tools that stages share: the face analyzer and the diffusion models, each loaded once and only when a stage asks for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from PIL import Image

from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.session import GpuSession
from avatar_pipeline.faces.analyzer import FaceAnalyzer, get_analyzer
from avatar_pipeline.stages.progress import Progress


class Tools:
    """One set of tools per run.

    device: "auto", "cuda", "mps" or "cpu". model: a folder or model id to load instead of the preset's own.
    analyzer: "dlib" or "insightface". log: takes one line of progress.
    """

    def __init__(self, device: str, model: str | None, analyzer: str, log: Callable[[str], None]) -> None:
        self.device = device
        self.model = model
        self.log = log
        self.show: Callable[[Image.Image, str], None] | None = None  # takes previews of pictures that are being drawn
        self.cancelled: Callable[[], bool] = lambda: False  # asked after every step; a drawing then ends with Cancelled
        self._analyzer_name = analyzer
        self._sessions: dict[str, GpuSession] = {}

    @cached_property
    def analyzer(self) -> FaceAnalyzer:
        """The face analyzer. Raises ModelError when its models are missing."""
        return get_analyzer(self._analyzer_name)

    def session(self, preset: str) -> GpuSession:
        """The session of a preset; its pipeline is loaded at first use and kept until `close`."""
        if preset not in self._sessions:
            self._sessions[preset] = GpuSession(get_preset(preset), self.device, self.model)
        self._sessions[preset].watch = Progress(self.log, self.show, lambda: self.cancelled())
        return self._sessions[preset]

    def model_sha256(self, preset: str) -> str:
        """The hash of the weights that `session` would load. Raises ModelError when they are missing."""
        return self.session(preset).model_sha256

    def close(self) -> None:
        """Give the memory back."""
        while self._sessions:
            self._sessions.popitem()[1].close()
