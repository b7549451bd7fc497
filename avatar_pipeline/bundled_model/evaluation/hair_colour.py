"""The colour of the hair around a face, and whose it is like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avatar_pipeline.bundled_model.evaluation.statistics import leave_one_out, nearest_label
from avatar_pipeline.bundled_model.evaluation.studio import GeneratedImage, Photograph
from avatar_pipeline.bundled_model.evaluation.subjects import COLOURS
from avatar_pipeline.bundled_model.hair_recolour import recolour_hair
from avatar_pipeline.bundled_model.people_attributes import PERSONS
from avatar_pipeline.faces.framing import eyes_and_mouth

# Where hair lies, in inter-eye distances from the middle of the eyes, (left, top, right, bottom):
# above the forehead on all training people, beside the face on most. The first zone alone names 93
# % of the training photographs rightly, all three 97 %.
ZONES = ((-0.6, -1.5, 0.6, -1.0), (-1.4, -1.0, -0.9, 1.2), (0.9, -1.0, 1.4, 1.2))
MAX_COLOUR_DISTANCE = 14.0  # Lab distance within which a pixel counts as wall or as skin
MIN_HAIR_PIXELS = 100  # pixels of hair to speak of a colour


@dataclass(frozen=True, eq=False)
class References:
    """Hair of the training photographs: (N, 3) median Lab colours, N colour words, and N names of
    photographs.
    """

    colours: np.ndarray
    words: list[str]
    origins: list[str]

    def accuracy(self) -> float:
        """Return the share of training photographs whose own word the others name: what the
        classifier can do at best.
        """
        return leave_one_out(self.colours, self.words, self.origins)


def median_hair(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
    """Return (3,) float64 median Lab colour of the hair around the face; None where hardly any is
    found.

    image: (H, W, 3) uint8. landmarks: (68, 2). Hair is what in the zones differs both from the wall
    (the upper corners) and from the skin (under the eyes).
    """
    import cv2

    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    left, right, _ = eyes_and_mouth(landmarks)
    (x, y), between = (left + right) / 2, float(np.linalg.norm(right - left))
    zones = [
        lab[
            max(0, int(y + y0 * between)) : max(1, int(y + y1 * between)),
            max(0, int(x + x0 * between)) : int(x + x1 * between),
        ]
        for x0, y0, x1, y1 in ZONES
    ]
    pixels = np.concatenate([zone.reshape(-1, 3) for zone in zones])
    corner = max(8, image.shape[0] // 12)
    walls = [
        np.median(lab[4:corner, side].reshape(-1, 3), axis=0)
        for side in (slice(4, corner), slice(-corner, -4))
    ]
    cheek = int(y + 0.55 * between)
    skin = np.median(lab[cheek : cheek + 8, int(left[0]) : int(right[0])].reshape(-1, 3), axis=0)
    far = np.min([np.linalg.norm(pixels - known, axis=1) for known in (*walls, skin)], axis=0)
    hair = pixels[far > MAX_COLOUR_DISTANCE]
    return (
        np.asarray(np.median(hair, axis=0), dtype=np.float64)
        if len(hair) >= MIN_HAIR_PIXELS
        else None
    )


def references(photographs: Sequence[Photograph]) -> References:
    """Return the hair of the photographs, and of the black-haired ones again as the training set
    recolours them to brown.
    """
    colours, words, origins = [], [], []
    for photograph in photographs:
        sample, points = photograph.sample, photograph.face.landmarks68
        own = PERSONS[photograph.person].hair_colour
        versions = [(own, sample.image)]
        if own == "black":
            versions.append(("brown", recolour_hair(sample.image, points, "brown")))
        for word, image in versions:
            median = median_hair(image, points)
            if word in COLOURS and median is not None:
                colours.append(median)
                words.append(word)
                origins.append(sample.origin)
    return References(np.stack(colours), words, origins)


def classify(drawing: GeneratedImage, known: References) -> str:
    """Return the colour word of the nearest training hair; empty without a face or without hair."""
    if drawing.face is None:
        return ""
    median = median_hair(np.asarray(drawing.image), drawing.face.landmarks68)
    return "" if median is None else nearest_label(median[None], known.colours, known.words)[0]
