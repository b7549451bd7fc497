"""The embedded model's training heads: openpeople at a fixed place, morphs between people, and
turned heads of both.

Never P005 and never P010 (people.HELD_OUT): identities that LoRA training is shown and scored on
must be new to the base model.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from avatar_pipeline.bundled_model import captions
from avatar_pipeline.bundled_model.captions import Picture
from avatar_pipeline.bundled_model.head_rotation import rotate_head
from avatar_pipeline.bundled_model.morphs import morph
from avatar_pipeline.bundled_model.people_attributes import MIXED_ONLY, PERSONS, TRAINED, Person
from avatar_pipeline.core.openpeople import asset_path, emotion_tiles
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.framing import Framing, frame_head

# An inter-eye distance of 104 px in 512: LivePortrait's crop is 5.0 to 5.4 inter-eye distances wide
# (measured on the ten studio portraits), so a 512 picture holds nearly all of it, and the tiles
# (3.2 to 5.2 inter-eye distances high) are not enlarged too much.
FRAMING = Framing(width=512, height=512, inter_eye=104 / 512, eye_y=240 / 512)
# degrees of yaw: up to the first a head is frontal, from the second on it is turned
FRONTAL_YAW, TURNED_YAW = 8.0, 13.0
MORPHS_PER_PAIR = 11
TURNS = (14.0, 19.0)  # degrees that heads are turned by
# Hands, tilted heads and closed eyes do not survive a landmark morph.
UNMORPHABLE = {"thoughtful", "exhausted", "confused", "playful", "flirty"}
# Men are two of the eight: drawn more often, so that "male" is not learned from a fifth of the
# pictures.
MALE_WEIGHT = 2.0


@dataclass(frozen=True, eq=False)
class Sample:
    """One training picture and what is known of it.

    image: (H, W, 3) uint8. landmarks: (68, 2) float32, pixels. embedding: (128,) float32, dlib's.
    name: whose photograph it is, empty for a mixture. weight: how often it is drawn within its
    group.
    """

    image: np.ndarray
    landmarks: np.ndarray
    embedding: np.ndarray
    person: Person
    shows: Picture
    name: str
    origin: str
    weight: float = 1.0


def photographs(analyzer: FaceAnalyzer, people: Sequence[str] = TRAINED) -> list[Sample]:
    """Return all framed photographs of `people`: 16 emotion tiles, the studio portrait and the
    selfie of each, where dlib finds the face.
    """
    samples: list[Sample | None] = []
    for name in people:
        portrait = np.asarray(Image.open(asset_path(name, "studio_portrait")).convert("RGB"))
        framed_portrait, inside, _ = _framed(portrait, analyzer)
        framed_portrait = _grow_top(framed_portrait, inside)
        for emotion, tile in emotion_tiles(name).items():
            framed, inside, yaw = _framed(np.asarray(tile), analyzer)
            # The tiles end close to the head. The same person's portrait, framed alike, has the
            # same hair, shirt and wall.
            framed = _fill(framed, inside, framed_portrait)
            samples.append(
                _sample(framed, analyzer, name, Picture(emotion, _view(yaw)), emotion, 1.0)
            )
        samples.append(
            _sample(framed_portrait, analyzer, name, Picture("neutral"), "portrait", 3.0)
        )
        selfie = np.asarray(Image.open(asset_path(name, "amateur_selfie")).convert("RGB"))
        framed, _, yaw = _framed(selfie, analyzer)
        place = "outdoors" if name in ("P004", "P006") else "indoors"
        samples.append(
            _sample(
                framed,
                analyzer,
                name,
                Picture("happy", _view(yaw), background=place),
                "selfie",
                1.0,
            )
        )
    return [sample for sample in samples if sample is not None]


def morphs(samples: Sequence[Sample], analyzer: FaceAnalyzer, seed: int) -> Iterator[Sample]:
    """Yield mixtures of every ordered pair of people, MORPHS_PER_PAIR each, over their common
    expressions.
    """
    rng = random.Random(seed)
    by_origin = {sample.origin: sample for sample in samples}
    for canvas_name, face_name in itertools.permutations(TRAINED, 2):
        shared = [
            key
            for key in (*captions.EXPRESSIONS, "portrait", "portrait")
            if key not in UNMORPHABLE
            and f"{canvas_name}/{key}" in by_origin
            and f"{face_name}/{key}" in by_origin
        ]
        for expression in rng.sample(shared, min(MORPHS_PER_PAIR, len(shared))):
            canvas, face = (
                by_origin[f"{canvas_name}/{expression}"],
                by_origin[f"{face_name}/{expression}"],
            )
            mixture = mix(canvas, face, rng.uniform(0.35, 0.9), analyzer)
            if mixture is not None:
                yield mixture


def mix(canvas: Sample, face: Sample, share: float, analyzer: FaceAnalyzer) -> Sample | None:
    """Return the morph of two samples of the same framing; None where dlib finds no face in it."""
    picture = morph(canvas.image, canvas.landmarks, face.image, face.landmarks, share)
    faces = analyzer.analyze(picture)
    if not faces:
        return None
    person = captions.mix(canvas.person, face.person, share)
    origin = f"{canvas.origin}+{share:.2f}x{face.origin}"
    return Sample(
        picture,
        faces[0].landmarks68,
        faces[0].embedding,
        person,
        canvas.shows,
        "",
        origin,
        weight_of(person),
    )


def rotated_samples(samples: Sequence[Sample], seed: int) -> Iterator[Sample]:
    """Yield each frontal head of `samples` turned to a side; heads with hands or raised chins are
    left out.
    """
    rng = random.Random(seed)
    for sample in samples:
        if sample.shows.view != "front" or sample.shows.expression in UNMORPHABLE:
            continue
        side = rng.choice((-1, 1))
        image, landmarks = rotate_head(sample.image, sample.landmarks, side * rng.uniform(*TURNS))
        shows = replace(sample.shows, view="right" if side > 0 else "left")
        # The embedding stays that of the frontal picture: turning a head does not change who it is.
        yield replace(
            sample, image=image, landmarks=landmarks, shows=shows, origin=f"{sample.origin} turned"
        )


def weight_of(person: Person) -> float:
    """Return how often a person's pictures are drawn, against a woman's."""
    return MALE_WEIGHT if person.sex == "male" else 1.0


def drawable(sample: Sample) -> bool:
    """Return whether a photograph may be learned as it is, and not only in mixtures."""
    return sample.name not in MIXED_ONLY


def _framed(image: np.ndarray, analyzer: FaceAnalyzer) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the framed head, where it is real, and its yaw in degrees; fails loudly when no face
    is found.
    """
    face = analyzer.analyze(image)[0]
    framed, inside = frame_head(image, face.landmarks, FRAMING, mirrored=True)
    return framed, inside, face.pose.yaw


def _sample(
    framed: np.ndarray, analyzer: FaceAnalyzer, name: str, shows: Picture, kind: str, weight: float
) -> Sample | None:
    faces = analyzer.analyze(framed)
    # a hand over the mouth can hide the framed face from the detector; such a picture teaches
    # nothing
    if not faces:
        return None
    face, person = faces[0], PERSONS[name]
    weight *= weight_of(person)
    return Sample(
        framed, face.landmarks68, face.embedding, person, shows, name, f"{name}/{kind}", weight
    )


def _view(yaw: float) -> str:
    """Return the view's word; between FRONTAL_YAW and TURNED_YAW none is right, and the captions
    stay silent about it.
    """
    if abs(yaw) <= FRONTAL_YAW:
        return "front"
    if abs(yaw) < TURNED_YAW:
        return ""
    return "right" if yaw > 0 else "left"


def _grow_top(framed: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Add the hair that a portrait's upper edge has cut off, as a dome of its own mirrored texture;
    wall beside it.

    A mirrored head on top of the head would be learned as what heads look like.
    """
    import cv2

    height, width = inside.shape
    cut = int(np.argmax(inside[:, width // 2]))
    if cut < 4:
        return framed
    edge = framed[cut + 4 : cut + 8].mean(axis=0)
    wall = np.linspace(
        framed[cut : cut + 40, :24].mean(axis=(0, 1)),
        framed[cut : cut + 40, -24:].mean(axis=(0, 1)),
        width,
    )
    hair = np.flatnonzero(np.abs(edge - wall).max(axis=1) > 25)
    dome = np.zeros((height, width), np.float32)
    if len(hair):
        left, right = np.percentile(hair, (4, 96))
        rise = min(cut - 3, 0.2 * (right - left))
        centre, axes = (
            (int((left + right) / 2), cut + 3),
            (int((right - left) / 2), max(1, int(rise))),
        )
        cv2.ellipse(dome, centre, axes, 0, 180, 360, 1.0, -1)
    dome[cut + 3 :] = 1
    weight = cv2.GaussianBlur(dome, (0, 0), 3)[..., None]
    grain = np.random.default_rng(0).normal(0, 1.5, framed.shape)
    return np.clip(framed * weight + (wall[None] + grain) * (1 - weight), 0, 255).astype(np.uint8)


def _fill(framed: np.ndarray, inside: np.ndarray, portrait: np.ndarray) -> np.ndarray:
    """Show `portrait` where `framed` has no content, with a 24 px transition inside the content."""
    import cv2

    distance = cv2.distanceTransform(
        np.pad(inside, 1, constant_values=True).astype(np.uint8), cv2.DIST_L2, 3
    )[1:-1, 1:-1]
    weight = np.clip(distance / 24, 0, 1)[..., None]
    return (framed * weight + portrait * (1 - weight)).astype(np.uint8)
