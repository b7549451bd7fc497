"""The pictures that the readiness checks are measured on: openpeople's synthetic people, and the
photographs inside two packages.
"""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from avatar_pipeline.core.openpeople import PEOPLE, asset_path, emotion_tiles
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.crop import source_crop
from avatar_pipeline.imaging.images import open_image, resize_to_fit

SIDE = 1024  # pixels: what the portraits are reduced to, so that a run takes minutes

# Face views of the character sheets inside their frames; the layout of all ten sheets is the same.
VIEWS = {
    "view_front": (75, 144, 543, 638),
    "view_left": (669, 144, 1137, 638),
    "view_back": (1263, 144, 1731, 638),
}

# Tiles on which a person sees an eye with no more than a slit of its iris: winks, glances to the
# floor, sleep.
with (Path(__file__).parent / "closed_eyes.csv").open(newline="") as file:
    CLOSED_EYES = [(row["person"], row["emotion"]) for row in csv.DictReader(file)]


@dataclass(frozen=True, eq=False)
class Subject:
    """A picture of one face to degrade. image: (H, W, 3) uint8."""

    name: str
    image: np.ndarray
    face: Face


def person_picture(person: str, kind: str) -> np.ndarray:
    """One of openpeople's pictures: an asset, a view of the character sheet, or an emotion's tile;
    (H, W, 3) uint8.
    """
    if kind in VIEWS:
        return np.asarray(
            Image.open(asset_path(person, "character_sheet")).convert("RGB").crop(VIEWS[kind])
        )
    if kind.startswith(("studio", "amateur")):
        return np.asarray(Image.open(asset_path(person, kind)).convert("RGB"))
    return np.asarray(_tiles(person)[kind])


_tiles = cache(emotion_tiles)


def subjects(analyzer: FaceAnalyzer) -> list[Subject]:
    """The ten studio portraits; skimage's astronaut and the people of insightface's t1.jpg where
    those packages are installed.
    """
    found = []
    for person in PEOPLE:
        picture = resize_to_fit(Image.fromarray(person_picture(person, "studio_portrait")), SIDE)
        found += _alone(person, np.asarray(picture), analyzer)
    astronaut, group = (
        _inside("skimage", "data/astronaut.png"),
        _inside("insightface", "data/images/t1.jpg"),
    )
    if astronaut:
        found += _alone(
            "astronaut", np.asarray(open_image(astronaut, name=astronaut.name)), analyzer
        )
    if group:
        image = np.asarray(open_image(group, name=group.name))
        for number, face in enumerate(analyzer.analyze(image)):
            side = source_crop(face.landmarks).side
            x, y = face.landmarks.mean(axis=0) - (0, 0.12 * side)
            x0, y0, x1, y1 = (
                max(0, round(float(v)))
                for v in (x - side * 0.5, y - side * 0.5, x + side * 0.5, y + side * 0.5)
            )
            found += _alone(f"t1 {number}", image[y0:y1, x0:x1], analyzer)
    return found


def _alone(name: str, image: np.ndarray, analyzer: FaceAnalyzer) -> list[Subject]:
    faces = analyzer.analyze(image)
    return [Subject(name, image, faces[0])] if len(faces) == 1 else []


def _inside(package: str, path: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    file = Path(spec.origin).parent / path if spec and spec.origin else None
    return file if file and file.is_file() else None
