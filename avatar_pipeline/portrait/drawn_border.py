"""What a model has drawn below the chin, in the place of what geometry continued there.

Geometry alone continues clothes as soft stripes, which a model that drew the picture draws better.
Above the chin it stays with geometry: a model puts hair of its own above hair that ends.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.portrait.border import Place
from avatar_pipeline.portrait.frame import SIZE, Framed

SEAM = 24.0  # pixels of the frame over which one gives way to the other
BELOW = 0.5  # from the chin on, in distances from the eyes to the chin: over which it does, too


def inside(framed: Framed, width: int, height: int, side: int) -> np.ndarray:
    """Return (side, side) bool: where the frame, scaled to `side` pixels, shows the picture of
    width x height pixels that it was cut from, and nothing else.
    """
    import cv2

    known = (~_place(framed, width, height).outside).astype(np.float32)
    small: np.ndarray = cv2.resize(known, (side, side), interpolation=cv2.INTER_AREA)
    return small > 0.99


def with_drawn_border(framed: Framed, drawn: np.ndarray, picture: np.ndarray, face: Face) -> Framed:
    """Return the frame with what was drawn below the chin, outside of the picture.

    drawn: (s, s, 3) uint8, the whole frame at any scale. picture, face: what was framed.
    """
    import cv2

    place = _place(framed, picture.shape[1], picture.shape[0])
    away = np.clip(place.distance / SEAM, 0, 1)
    points = face.landmarks68 @ framed.matrix[:, :2].T + framed.matrix[:, 2]
    chin = float(points[8, 1])
    high = max(chin - float(points[36:48, 1].mean()), 1.0)
    below = np.clip((np.arange(SIZE, dtype=np.float32) - chin) / (BELOW * high), 0, 1)[:, None]
    share = (away * away * (3 - 2 * away) * below * place.outside)[..., None]
    large = cv2.resize(drawn, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    mixed = framed.pixels * (1 - share) + large * share
    return replace(framed, pixels=mixed.round().clip(0, 255).astype(np.uint8))


def _place(framed: Framed, width: int, height: int) -> Place:
    return Place.of(framed.matrix, SIZE, width, height)
