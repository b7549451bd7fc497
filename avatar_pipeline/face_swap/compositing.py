"""Soft masks over parts of a face, the window of a picture that a face swap works on at a bounded
size, and the blend that puts it back.

Masks are (H, W) float32, 0 to 1; sizes are (width, height) in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avatar_pipeline.face_swap.geometry import all_points
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance

WORK_SIDE = 1024  # pixels: a larger face is painted at this size and enlarged
MARGIN = 0.6  # inter-eye distances around the face
# rows put back at a time: the face of a 50 megapixel picture would need gigabytes at once
STRIP = 512
LEVELS = 5  # bands of the blend, at most


@dataclass(frozen=True)
class Window:
    """Rows and columns of a picture."""

    rows: slice
    columns: slice

    @property
    def corner(self) -> tuple[int, int]:
        """x and y of its upper left pixel."""
        return self.columns.start, self.rows.start

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.columns.stop - self.columns.start, self.rows.stop - self.rows.start


def window(image: np.ndarray, landmarks: np.ndarray) -> Window:
    """Return the face with its forehead and some room around, inside the picture."""
    points = all_points(landmarks)
    margin = MARGIN * inter_eye_distance(landmarks)
    low = np.maximum(np.floor(points.min(axis=0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(points.max(axis=0) + margin), image.shape[1::-1]).astype(int)
    return Window(slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))


def reduced(arrays: Sequence[np.ndarray], scale: float) -> list[np.ndarray]:
    """Return the arrays, (H, W) or (H, W, 3), at `scale` of their size, averaged; as they are
    at 1.
    """
    import cv2

    if scale >= 1:
        return [np.ascontiguousarray(array) for array in arrays]
    height, width = arrays[0].shape[:2]
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    return [cv2.resize(array, size, interpolation=cv2.INTER_AREA) for array in arrays]


def eyes_of(points: np.ndarray) -> list[np.ndarray]:
    """Return the points of both eyes."""
    return [points[36:42], points[42:48]]


def dilated_hulls(groups: Sequence[np.ndarray], size: tuple[int, int], margin: float) -> np.ndarray:
    """Return (H, W) float32: the hull of each group of points and `margin` pixels around,
    softly.
    """
    import cv2

    mask = np.zeros((size[1], size[0]), np.uint8)
    for group in groups:
        cv2.fillConvexPoly(mask, cv2.convexHull(group.round().astype(np.int32)), 255)
    reach = max(1, round(margin))
    mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2))
    softened: np.ndarray = cv2.GaussianBlur(
        mask.astype(np.float32) / 255, (0, 0), max(0.6 * margin, 0.5)
    )
    return softened


def filled_polygon(polygon: np.ndarray, size: tuple[int, int], blur: float) -> np.ndarray:
    """Return the inside of a polygon, hollows and all, blurred by `blur` pixels."""
    import cv2

    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillPoly(mask, [polygon.round().astype(np.int32)], 255, cv2.LINE_AA)
    softened: np.ndarray = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), max(blur, 0.5))
    return softened


def edge_ramp(mask: np.ndarray, width: float) -> np.ndarray:
    """Return (H, W) float32: 0 at the edge of a mask, 1 from `width` pixels inside on, smoothly."""
    import cv2

    depth = cv2.distanceTransform(np.pad((mask > 0.5).astype(np.uint8), 1), cv2.DIST_L2, 5)[
        1:-1, 1:-1
    ]
    share = np.clip(depth / max(width, 1), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def blend(front: np.ndarray, back: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Blend in bands (Burt and Adelson 1983): coarse bands over wide seams, fine ones over narrow.
    RGB float32, mask (H, W) 0-1.

    Unlike gradient-domain cloning it cannot carry the colour of hair or wall at the seam into the
    face.
    """
    import cv2

    levels = min(LEVELS, int(np.log2(max(8, min(mask.shape)))) - 2)
    pyramids: list[list[np.ndarray]] = [[front], [back], [mask]]
    for pyramid in pyramids:
        for _ in range(levels):
            pyramid.append(cv2.pyrDown(pyramid[-1]))
    result: np.ndarray | None = None
    for level in range(levels, -1, -1):
        weight = pyramids[2][level][..., None]
        bands = []
        for pyramid in pyramids[:2]:
            band = pyramid[level]
            if level < levels:
                band = band - cv2.pyrUp(pyramid[level + 1], dstsize=band.shape[1::-1])
            bands.append(band)
        mixed = bands[0] * weight + bands[1] * (1 - weight)
        result = mixed if result is None else cv2.pyrUp(result, dstsize=mixed.shape[1::-1]) + mixed
    assert result is not None
    return result


def paste(
    target: np.ndarray, part: Window, view: np.ndarray, painted: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """Return a copy of `target` with `painted` blended into its window; where the mask is 0 no
    pixel changes.

    view: (h, w, 3) uint8, the window at the size it was worked on. painted: float32 and mask:
    float32 of that size.
    """
    import cv2

    mixed = blend(painted, view.astype(np.float32), mask).round().clip(0, 255).astype(np.uint8)
    # wide bands reach beyond the mask: what lies clearly outside is the target's own
    inside = np.clip(mask * 4, 0, 1)
    if mixed.shape[1::-1] != part.size:
        mixed = cv2.resize(mixed, part.size, interpolation=cv2.INTER_CUBIC)
        inside = cv2.resize(inside, part.size, interpolation=cv2.INTER_LINEAR)
    result = target.copy()
    place = result[part.rows, part.columns]
    for top in range(0, len(place), STRIP):
        rows = slice(top, top + STRIP)
        back = place[rows].astype(np.float32)
        place[rows] = (
            (back + inside[rows, :, None] * (mixed[rows] - back))
            .round()
            .clip(0, 255)
            .astype(np.uint8)
        )
    return result
