"""The embedded model's full-body and half-body training pictures, 512x768: openpeople's standing
people and mixtures of their faces.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from avatar_pipeline.bundled_model.captions import Picture
from avatar_pipeline.bundled_model.dataset import Sample, mix, weight_of
from avatar_pipeline.bundled_model.people_attributes import PERSONS, TRAINED
from avatar_pipeline.core.openpeople import asset_path
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.framing import Framing, eyes_and_mouth, frame_head, similarity

WIDTH, HEIGHT = 512, 768
# Head to hips: with 60 px between the eyes the picture is 12.8 inter-eye distances high, 2.6 of
# them above the eyes.
HALF_BODY = Framing(WIDTH, HEIGHT, inter_eye=60 / WIDTH, eye_y=156 / WIDTH)
KINDS = {"studio_posture": "gray", "amateur_posture": "outdoors"}
# full bodies are mixed at twice their size: dlib needs larger faces than 25 px between the eyes
SCALE = 2


def body_pictures(analyzer: FaceAnalyzer, people: Sequence[str] = TRAINED) -> list[Sample]:
    """Return full-body pictures at SCALE times 512x768, and half-body pictures at 512x768, of each
    of `people`.
    """
    samples = []
    for name in people:
        for kind, background in KINDS.items():
            with Image.open(asset_path(name, kind)) as opened:
                picture = np.asarray(opened.convert("RGB"))
            face = analyzer.analyze(picture)[0]
            half, _ = frame_head(picture, face.landmarks68, HALF_BODY, mirrored=True)
            for framing, image in (("full_body", full_body(picture)), ("half_body", half)):
                shows = Picture("neutral", "front", "even", background, framing)
                found = analyzer.analyze(image)[0]
                person, origin = PERSONS[name], f"{name}/{kind} {framing}"
                points, embedding = found.landmarks68, face.embedding
                samples.append(
                    Sample(image, points, embedding, person, shows, name, origin, weight_of(person))
                )
    return samples


def body_morphs(samples: Sequence[Sample], analyzer: FaceAnalyzer, seed: int) -> Iterator[Sample]:
    """Yield the same bodies with mixed faces, for every ordered pair of people."""
    rng = random.Random(seed)
    by_origin = {sample.origin: sample for sample in samples}
    for canvas_name, face_name in itertools.permutations(TRAINED, 2):
        for kind, framing in itertools.product(KINDS, ("full_body", "half_body")):
            canvas = by_origin[f"{canvas_name}/{kind} {framing}"]
            face = by_origin[f"{face_name}/{kind} {framing}"]
            share = rng.uniform(0.5, 0.9)
            mixture = mix(canvas, _laid_over(face, canvas), share, analyzer)
            if mixture is not None:
                yield mixture


def shrunk(sample: Sample) -> Sample:
    """Return the sample at its final 512x768."""
    import cv2

    if sample.image.shape[0] == HEIGHT:
        return sample
    image = cv2.resize(sample.image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return replace(sample, image=image, landmarks=sample.landmarks / SCALE)


def full_body(picture: np.ndarray) -> np.ndarray:
    """Return the whole (H, W, 3) uint8 picture at SCALE x 512x768: its height is kept, its sides
    are cut or continued by their mirror image.
    """
    import cv2

    height, width = HEIGHT * SCALE, WIDTH * SCALE
    resized = cv2.resize(
        picture,
        (round(picture.shape[1] * height / picture.shape[0]), height),
        interpolation=cv2.INTER_AREA,
    )
    missing = width - resized.shape[1]
    if missing > 0:
        return np.pad(
            resized, ((0, 0), (missing // 2, missing - missing // 2), (0, 0)), mode="reflect"
        )
    return np.ascontiguousarray(resized[:, -missing // 2 : -missing // 2 + width])


def _laid_over(face: Sample, canvas: Sample) -> Sample:
    """Return `face` with its picture moved so that its head lies where that of `canvas` is."""
    import cv2

    matrix = similarity(eyes_and_mouth(face.landmarks), eyes_and_mouth(canvas.landmarks))
    size = (canvas.image.shape[1], canvas.image.shape[0])
    moved = cv2.warpAffine(
        face.image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    return replace(
        face,
        image=moved,
        landmarks=(face.landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32),
    )
