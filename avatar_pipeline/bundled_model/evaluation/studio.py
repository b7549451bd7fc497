"""What all rows share: the session that draws, the analyzer that looks, and the pictures already
drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from PIL import Image

from avatar_pipeline.bundled_model import dataset
from avatar_pipeline.bundled_model.evaluation.subjects import Request
from avatar_pipeline.bundled_model.people_attributes import HELD_OUT, TRAINED
from avatar_pipeline.diffusion.sampling import Sampling, text_to_image
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer

SEED = 2026


@dataclass(frozen=True, eq=False)
class GeneratedImage:
    """A generated picture and the faces in it, largest first."""

    request: Request
    image: Image.Image
    faces: list[Face]

    @property
    def face(self) -> Face | None:
        """The face, when there is exactly one."""
        return self.faces[0] if len(self.faces) == 1 else None


@dataclass(frozen=True, eq=False)
class Photograph:
    """A real (that is, openpeople's) framed head shot and its face."""

    sample: dataset.Sample
    face: Face

    @property
    def person(self) -> str:
        """P001 to P010."""
        return self.sample.origin.split("/")[0]


@dataclass(eq=False)
class Studio:
    """One evaluation. cap: at most so many pictures a row, to try the script out; None for the
    counts that the bars are about.

    Pictures of the base model are kept: rows that ask for the same prompt and seed share them.
    strip: what the LoRA rows leave for their picture (person, photograph, without, with,
    expressions).
    """

    session: PipelineSession
    analyzer: FaceAnalyzer
    cap: int | None = None
    strip: list[tuple[str, np.ndarray, list[Image.Image], list[Image.Image], list[str]]] = field(
        default_factory=list
    )
    _kept: dict[Request, GeneratedImage] = field(default_factory=dict)

    def count(self, full: int) -> int:
        """Return how many pictures to draw where the full evaluation draws `full`."""
        return full if self.cap is None else min(full, self.cap)

    def draw(
        self, requests: Sequence[Request], what: str, keep: bool = True
    ) -> list[GeneratedImage]:
        """Draw and analyze, with a progress bar called `what`. keep=False while a LoRA is
        loaded.
        """
        from tqdm import tqdm

        drawings = []
        for request in tqdm(requests, desc=what, unit="picture", leave=False):
            drawing = self._kept.get(request) if keep else None
            drawing = drawing or self._draw(request)
            if keep:
                self._kept[request] = drawing
            drawings.append(drawing)
        return drawings

    @cached_property
    def trained(self) -> list[Photograph]:
        """All photographs of the people the model was trained on."""
        return self._photographs(TRAINED)

    @cached_property
    def held_out(self) -> list[Photograph]:
        """All photographs of the people it never saw."""
        return self._photographs(HELD_OUT)

    @cached_property
    def embeddings(self) -> np.ndarray:
        """(N, 128) float32 of `trained`."""
        return np.stack([photograph.face.embedding for photograph in self.trained])

    def image(self, request: Request) -> Image.Image:
        """Return one picture with the preset's steps and guidance."""
        preset = self.session.preset
        width, height = preset.sizes[request.framing]
        return text_to_image(
            self.session,
            request.prompt,
            request.seed,
            (width, height),
            Sampling(preset.steps, preset.guidance_scale),
        )

    def _draw(self, request: Request) -> GeneratedImage:
        image = self.image(request)
        return GeneratedImage(request, image, self.analyzer.analyze(np.asarray(image)))

    def _photographs(self, people: tuple[str, ...]) -> list[Photograph]:
        found = [
            (sample, self.analyzer.analyze(sample.image))
            for sample in dataset.photographs(self.analyzer, people)
        ]
        return [Photograph(sample, faces[0]) for sample, faces in found if faces]
