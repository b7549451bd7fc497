"""The method without a model: warp the source's face onto the target's landmarks, light it alike,
blend it in.

The mouth: its place, width and opening are the target's. Where the target's is open further than
the source's, its own teeth and tongue stay; where it is shut and the source's open, its own lips
stay. Eyes: the source's, opened as far as the target's within limits; shut lids of the target stay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar_pipeline.face_swap.base import MAX_CLOSED_EYE_OPENNESS, Painter
from avatar_pipeline.face_swap.compositing import (
    WORK_SIDE,
    dilated_hulls,
    edge_ramp,
    eyes_of,
    filled_polygon,
    paste,
    reduced,
    window,
)
from avatar_pipeline.face_swap.geometry import INNER_LIPS, all_points, backward_map, destination
from avatar_pipeline.face_swap.light import relight
from avatar_pipeline.face_swap.skin import features, outline, skin
from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.faces.landmark_measurements import (
    eye_openness,
    inter_eye_distance,
    mouth_opening,
)

# pixels: a larger face of the source has nothing to add to a target worked on at WORK_SIDE
SOURCE_SIDE = 1536
# In inter-eye distances: blur of the warp's creases, how far inside the outline the seam runs, and
# how wide it is.
SOFTEN, INSET, FEATHER = 0.02, 0.05, 0.22
# Gap of the inner lips as a share of the mouth's width: up to the first a mouth is shut; when the
# target's is open by the second more than the source's, what is seen inside is all the target's,
# for there the source has only lips to show.
SHUT, FULLY = 0.03, 0.05


class LandmarkSwapper:
    """Warp, relight and blend by landmarks; needs no model but the analyzer's."""

    name = "landmarks"

    def bind(self, image: np.ndarray, face: Face) -> Painter:
        """Return the painter for this face; what depends on the source alone is computed once."""
        prepared = _prepare(image, face)

        def paint(target: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
            return _paint(target, landmarks, prepared)

        return paint


@dataclass(frozen=True, eq=False)
class _Source:
    """What depends on the source alone. image: its face, RGB uint8. points: (79, 2) in it. shown:
    (H, W) float32, what of it is face.
    """

    image: np.ndarray
    points: np.ndarray
    shown: np.ndarray
    opening: float
    openness: float

    @property
    def between(self) -> float:
        return inter_eye_distance(self.points[:68])

    def at(self, scale: float) -> _Source:
        """Return the source at a reduced scale: a warp does not average."""
        image, shown, points = (
            *reduced((self.image, self.shown), scale),
            (self.points + 0.5) * scale - 0.5,
        )
        return _Source(image, points, shown, self.opening, self.openness)


def _prepare(image: np.ndarray, face: Face) -> _Source:
    part = window(image, face.landmarks68)
    scale = min(1.0, SOURCE_SIDE / max(part.size))
    (pixels,) = reduced((image[part.rows, part.columns],), scale)
    points = (all_points(face.landmarks68) - part.corner + 0.5) * scale - 0.5
    between = inter_eye_distance(points[:68])
    size = (pixels.shape[1], pixels.shape[0])
    # A beard belongs to the source's face; hair on its forehead and temples does not.
    lower = np.zeros(size[::-1], np.float32)
    lower[max(0, round(float(points[33, 1]))) :] = 1
    shown = np.maximum.reduce(
        [skin(pixels, points, between), features(points, size, between), lower]
    ) * outline(points, size)
    return _Source(
        pixels, points, shown, mouth_opening(face.landmarks68), eye_openness(face.landmarks68)
    )


def _paint(target: np.ndarray, landmarks: np.ndarray, source: _Source) -> np.ndarray:
    import cv2

    part = window(target, landmarks)
    scale = min(1.0, WORK_SIDE / max(part.size))
    (view,) = reduced((target[part.rows, part.columns],), scale)
    there = (all_points(landmarks) - part.corner + 0.5) * scale - 0.5
    size = (view.shape[1], view.shape[0])
    between = inter_eye_distance(there[:68])
    if between < 0.8 * source.between:
        source = source.at(between / source.between)

    to = destination(source.points, there)
    field = backward_map(to, source.points, size, SOFTEN * between)
    warped = cv2.remap(
        source.image, field[..., 0], field[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    shown = cv2.remap(source.shown, field[..., 0], field[..., 1], cv2.INTER_LINEAR, borderValue=0)

    own, mimic = skin(view, there, between), features(there, size, between)
    hull = outline(there, size, INSET * between)
    free = np.maximum(own, mimic * features(to, size, between)) * shown
    eyes = dilated_hulls(eyes_of(to), size, 0.02 * between)
    lit = relight(
        warped.astype(np.float32),
        view.astype(np.float32),
        own * hull * shown * (1 - mimic),
        hull * free,
        eyes,
        between,
    )
    mask = edge_ramp(hull, FEATHER * between) * free * (1 - _kept(there, to, size, between, source))
    return paste(target, part, view, lit, mask.astype(np.float32))


def _kept(
    there: np.ndarray, to: np.ndarray, size: tuple[int, int], between: float, source: _Source
) -> np.ndarray:
    """Return (H, W) float32: what of the target's mouth and eyes stays, for the source has nothing
    to show there, or too much.
    """
    opening, own = mouth_opening(there[:68]), source.opening
    further = float(np.clip((opening - max(own, SHUT)) / FULLY, 0, 1))
    kept = further * filled_polygon(to[INNER_LIPS], size, 0.015 * between)
    shut = float(np.clip((own - max(opening, SHUT) - FULLY) / (2 * FULLY), 0, 1))
    if shut:
        kept = np.maximum(
            kept, shut * dilated_hulls([there[48:60], to[48:60]], size, 0.1 * between)
        )
    if eye_openness(there[:68]) < MAX_CLOSED_EYE_OPENNESS <= source.openness:
        kept = np.maximum(kept, dilated_hulls(eyes_of(there), size, 0.1 * between))
    return kept
