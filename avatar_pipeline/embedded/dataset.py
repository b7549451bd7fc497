"""The embedded model's training pictures: heads of openpeople at a fixed place, morphs between them, light and backgrounds.

Never P005 and never P010 (people.HELD_OUT): identities that LoRA training is shown and scored on must be new to the base model.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from avatar_pipeline.embedded import captions
from avatar_pipeline.embedded.captions import Picture
from avatar_pipeline.embedded.morphs import morph
from avatar_pipeline.embedded.openpeople import asset_path, emotion_tiles
from avatar_pipeline.embedded.people import PERSONS, TRAINED, Person
from avatar_pipeline.faces.analyzer import FaceAnalyzer
from avatar_pipeline.faces.framing import Framing, frame_head

# An inter-eye distance of 104 px in 512: LivePortrait's crop is 5.0 to 5.4 inter-eye distances wide (measured on the ten studio
# portraits), so a 512 picture holds nearly all of it, and the tiles (3.2 to 5.2 inter-eye distances high) are not enlarged too much.
FRAMING = Framing(width=512, height=512, inter_eye=104 / 512, eye_y=240 / 512)
LATENT_CELL = 16  # pixels a side of one latent
TURNED = 15.0  # degrees of yaw from which a head counts as turned
MORPHS_PER_PAIR = 12
# Hands, tilted heads and closed eyes do not survive a landmark morph.
UNMORPHABLE = {"thoughtful", "exhausted", "confused", "playful", "flirty"}


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture: (512, 512, 3) uint8, (32, 32) bool where its content is real, landmarks (68, 2), and what it shows."""

    image: np.ndarray
    inside: np.ndarray
    landmarks: np.ndarray
    person: Person
    shows: Picture
    origin: str
    weight: float


def photographs(analyzer: FaceAnalyzer, people: tuple[str, ...] = TRAINED) -> list[Sample]:
    """All framed photographs of `people`: 16 emotion tiles, the studio portrait and the selfie of each."""
    samples = []
    for name in people:
        portrait = np.asarray(Image.open(asset_path(name, "studio_portrait")).convert("RGB"))
        framed_portrait, portrait_inside, _ = _framed(portrait, analyzer)
        sources = {emotion: np.asarray(tile) for emotion, tile in emotion_tiles(name).items()}
        for emotion, source in sources.items():
            framed, inside, yaw = _framed(source, analyzer)
            # The tiles end close to the head. The same person's portrait, framed alike, has the same hair, shirt and wall.
            framed = _fill(framed, inside, framed_portrait)
            shows = Picture(emotion, view=_view(yaw))
            samples.append(_sample(framed, inside | portrait_inside, analyzer, name, shows, f"{name}/{emotion}", 1.0))
        samples.append(_sample(framed_portrait, portrait_inside, analyzer, name, Picture("neutral"), f"{name}/portrait", 3.0))
        selfie = np.asarray(Image.open(asset_path(name, "amateur_selfie")).convert("RGB"))
        framed, inside, yaw = _framed(selfie, analyzer)
        place = "outdoors" if name in ("P004", "P006") else "indoors"
        samples.append(
            _sample(framed, inside, analyzer, name, Picture("happy", _view(yaw), "even", place), f"{name}/selfie", 1.0)
        )
    return [sample for sample in samples if sample is not None]


def morphs(samples: list[Sample], seed: int) -> Iterator[Sample]:
    """Mixtures of every ordered pair of people, MORPHS_PER_PAIR each, over their common expressions."""
    rng = random.Random(seed)
    by_origin = {sample.origin: sample for sample in samples}
    for canvas_name, face_name in itertools.permutations(TRAINED, 2):
        shared = [
            key
            for key in (*captions.EXPRESSIONS, "portrait", "portrait", "portrait")
            if key not in UNMORPHABLE and f"{canvas_name}/{key}" in by_origin and f"{face_name}/{key}" in by_origin
        ]
        for expression in rng.sample(shared, min(MORPHS_PER_PAIR, len(shared))):
            canvas, face = by_origin[f"{canvas_name}/{expression}"], by_origin[f"{face_name}/{expression}"]
            share = rng.uniform(0.3, 0.9)
            picture = morph(canvas.image, canvas.landmarks, face.image, face.landmarks, share)
            points = (1 - share) * canvas.landmarks + share * face.landmarks
            person = captions.mix(canvas.person, face.person, share)
            origin = f"{canvas.origin}+{share:.2f}x{face.origin}"
            yield Sample(picture, canvas.inside, points, person, canvas.shows, origin, 1.0)


def _framed(image: np.ndarray, analyzer: FaceAnalyzer) -> tuple[np.ndarray, np.ndarray, float]:
    """The framed head, where it is real, and its yaw in degrees; fails loudly when no face is found."""
    face = analyzer.analyze(image)[0]
    framed, inside = frame_head(image, face.landmarks, FRAMING)
    return framed, inside, face.pose.yaw


def _sample(
    framed: np.ndarray, inside: np.ndarray, analyzer: FaceAnalyzer, name: str, shows: Picture, origin: str, weight: float
) -> Sample | None:
    faces = analyzer.analyze(framed)
    if not faces:  # a hand over the mouth can hide the framed face from the detector; such a picture teaches nothing
        return None
    height, width = inside.shape
    cells = inside.reshape(height // LATENT_CELL, LATENT_CELL, width // LATENT_CELL, LATENT_CELL).min(axis=(1, 3))
    return Sample(framed, cells, faces[0].landmarks, PERSONS[name], shows, origin, weight)


def _view(yaw: float) -> str:
    return "front" if abs(yaw) < TURNED else ("right" if yaw > 0 else "left")


def _fill(framed: np.ndarray, inside: np.ndarray, portrait: np.ndarray) -> np.ndarray:
    """Where `framed` has no content, show `portrait`, with a 24 px transition inside the content."""
    import cv2

    distance = cv2.distanceTransform(np.pad(inside, 1, constant_values=True).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    weight = np.clip(distance / 24, 0, 1)[..., None]
    return (framed * weight + portrait * (1 - weight)).astype(np.uint8)
