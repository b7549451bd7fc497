"""A picture of a person, framed as an animator wants it: upright around the head, or whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.faces.animators.profiles import ANIMATORS, Animator
from avatar_pipeline.faces.crop import source_crop
from avatar_pipeline.portrait.border import Place, continue_border, head_area

SIZE = 1024  # pixels a side: what the LivePortrait team asks for
# Room around the animator's cut as a share of the picture. Detectors disagree on the jaw by a few
# percent of the face, which LivePortrait's cut takes 2.3-fold.
MARGIN = 0.06
LONGEST = 1536  # pixels: of a picture whose own frame is animated; the largest target is 1280
FAR = 64.0  # face sizes: an empty picture in which no cut meets an edge


@dataclass(frozen=True, eq=False)
class Framed:
    """A framed picture, and what it took.

    pixels: (H, W, 3) uint8. matrix: (2, 3), from pixel indices of the original to those of it.
    enlarged: by how much; below 1 it was reduced. turned: in degrees, clockwise. invented: share (0
    to 1) of it that lies outside of the original. invented_head: of head and hair, the share that
    does.
    """

    pixels: np.ndarray
    matrix: np.ndarray
    enlarged: float
    turned: float
    invented: float = 0.0
    invented_head: float = 0.0


def frame_for(animator: Animator, image: np.ndarray, face: Face) -> Framed:
    """Frame an RGB uint8 (H, W, 3) picture for an animator by one of its faces."""
    return around_head(animator, image, face) if animator.frame == "face" else whole(image, face)


def around_head(animator: Animator, image: np.ndarray, face: Face) -> Framed:
    """Turn the face upright and place the animator's cut in the middle of a SIZE x SIZE picture,
    MARGIN around it; what the picture lacks is continued (portrait/border.py).
    """
    import cv2

    angle = source_crop(face.landmarks).angle
    turn = _rotation(angle)
    low, side = _wanted(animator, face, turn)
    scale = SIZE * (1 - 2 * MARGIN) / side
    linear = scale * turn
    # edges of pixels to middles of pixels, on both sides
    shift = SIZE * MARGIN - scale * low + linear @ np.array([0.5, 0.5]) - 0.5
    matrix = np.hstack([linear, shift[:, None]])

    reduced, ratio = _reduced(image, scale)
    matrix_reduced = _after(matrix, ratio)
    framed = cv2.warpAffine(
        reduced,
        matrix_reduced,
        (SIZE, SIZE),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    place = Place.of(matrix_reduced, SIZE, reduced.shape[1], reduced.shape[0])
    outside = place.outside
    invented_head = 0.0
    if outside.any():
        landmarks = ((face.landmarks68 + 0.5) * ratio - 0.5).astype(np.float32)
        framed, person = continue_border(reduced, framed, place, matrix_reduced, landmarks)
        head = head_area(face.landmarks68 @ matrix[:, :2].T + matrix[:, 2], SIZE)
        invented_head = float(person[head].mean()) if head.any() else 0.0
    return Framed(
        framed,
        matrix,
        scale,
        -angle,
        float(outside.mean()),
        invented_head,
    )


def whole(image: np.ndarray, face: Face) -> Framed:
    """The whole picture, its longer side at most LONGEST pixels."""
    import cv2

    height, width = image.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    size = (round(width * scale), round(height * scale))
    pixels = image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    matrix = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])
    return Framed(pixels, matrix, scale, 0.0)


def _wanted(animator: Animator, face: Face, turn: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the top left corner and the side of the square that holds the animator's cut, in the
    coordinates of the picture turned upright: where no edge is in the way.
    """
    points68, points = (points @ turn.T for points in (face.landmarks68, face.landmarks))
    size = float(np.ptp(points68, axis=0).max())
    canvas = FAR * size
    offset = canvas / 2 - points68.mean(axis=0)
    middle = Face(
        face.box,
        face.score,
        (points + offset).astype(np.float32),
        (points68 + offset).astype(np.float32),
        face.pose,
        np.zeros(0, np.float32),  # the face's own is computed when it is asked for
    )
    way = animator if animator.cuts_head else ANIMATORS["liveportrait"]
    corners = way.cut(round(canvas), round(canvas), middle).corners - offset
    low, high = corners.min(axis=0), corners.max(axis=0)
    side = float((high - low).max())
    return (low + high - side) / 2, side


def _rotation(angle: float) -> np.ndarray:
    """Return (2, 2): turns a face that is turned by `angle` degrees clockwise upright."""
    sin, cos = np.sin(np.radians(-angle)), np.cos(np.radians(-angle))
    return np.array([(cos, -sin), (sin, cos)])


def _reduced(image: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the picture, shrunk by averaging where warping would skip pixels, and (2,): the ratio
    of its new size to the old.
    """
    import cv2

    if scale >= 0.6:
        return image, np.ones(2)
    height, width = image.shape[:2]
    size = (max(2, round(width * scale * 1.2)), max(2, round(height * scale * 1.2)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.array(
        [size[0] / width, size[1] / height]
    )


def _after(matrix: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Return the matrix for the pixel indices of a picture resized by `ratio`."""
    shift = matrix[:, 2] + matrix[:, :2] @ (0.5 / ratio - 0.5)
    return np.hstack([matrix[:, :2] / ratio, shift[:, None]])
