"""The part of a picture that a face swap works on, at a bounded size, and how it is put back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avatar_pipeline.face_swap.geometry import all_points
from avatar_pipeline.face_swap.light import blend
from avatar_pipeline.faces.measurements import inter_eye_distance

WORK_SIDE = 1024  # pixels: a larger face is painted at this size and enlarged
MARGIN = 0.6  # inter-eye distances around the face
# rows put back at a time: the face of a 50 megapixel picture would need gigabytes at once
STRIP = 512


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
    """The face with its forehead and some room around, inside the picture."""
    points = all_points(landmarks)
    margin = MARGIN * inter_eye_distance(landmarks)
    low = np.maximum(np.floor(points.min(axis=0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(points.max(axis=0) + margin), image.shape[1::-1]).astype(int)
    return Window(slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))


def reduced(arrays: Sequence[np.ndarray], scale: float) -> list[np.ndarray]:
    """The arrays, (H, W) or (H, W, 3), at `scale` of their size, averaged; as they are at 1."""
    import cv2

    if scale >= 1:
        return [np.ascontiguousarray(array) for array in arrays]
    height, width = arrays[0].shape[:2]
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    return [cv2.resize(array, size, interpolation=cv2.INTER_AREA) for array in arrays]


def paste(
    target: np.ndarray, part: Window, view: np.ndarray, painted: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """A copy of `target` with `painted` blended into its window; where the mask is 0 no pixel
    changes.

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
