"""Where dlib's detector searches for faces: in the picture reduced, then magnified, then piece by
piece at its own size.

Each search for smaller faces costs several times as much as the one before it, and most often finds
none. It runs only where cheaper ones with the same filters leave a doubt: first a scan with small
cells, then dlib's own detector around what that saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from avatar_pipeline.faces.analyzers.dlib_detectors import CELL, WINDOW_CELLS, frontal

# Detection runs on a picture of at most this many pixels a side: HOG needs faces of 80 px, and its
# time grows with the area. Landmarks and embedding are measured at full resolution.
DETECT_SIDE = 1024

# Weakest HOG score that counts as a face. On the openpeople set full profiles and false finds score
# below 0.29, heads turned by about 45 degrees 0.49 and more, and the other 230 faces 0.97 and more.
DETECT_SCORE = 0.3

# A face that is small in a large picture has its pixels there only: where none was found, it is
# searched for, piece by piece, at the picture's own size (from 80 px on), and up to
# UPSAMPLED_PIXELS also magnified (from 40 px on).
PIECE, OVERLAP = 2048, 320
UPSAMPLED_PIXELS = 13_000_000
# Many more places are searched than in a reduced picture: a find must be surer.
PIECE_SCORE = 0.6
FLAT = 4.0  # a piece whose grey levels have this standard deviation or less shows no face

# The scan: cells of SCAN_CELL px, sizes of the picture SCAN_STEP apart where dlib's are 5/6. A
# place that scores SCAN_SLACK less than a face might be one. So it is examined by itself,
# magnified: its score then differs from the real one by how cells and sizes happen to lie,
# CROP_SLACK. More than MOST_PLACES are not worth that. benchmarks/preflight_no_face.py measures
# both errors.
SCAN_CELL, SCAN_STEP = 4, 0.7071
SCAN_SLACK, CROP_SLACK = 0.9, 0.6
MOST_PLACES = 16
# Sizes of a magnified picture that show faces too small for the picture itself: the fifth is the
# first that is smaller than the picture.
MAGNIFIED_SCALES = 5

Find = tuple[tuple[int, int, int, int], float]  # x0, y0, x1, y1 in pixels; score
Piece = tuple[tuple[int, int], np.ndarray]  # its top and left in the picture; pixels


class FaceSearch:
    """dlib's frontal face detector over pictures of every size. Loading takes milliseconds."""

    def __init__(self) -> None:
        self._detector: Any = frontal()
        self._smallest: Any = frontal(scales=MAGNIFIED_SCALES)
        self._scan: Any = frontal(cell=SCAN_CELL, scales=1)

    def find(self, image: np.ndarray) -> list[Find]:
        """Return boxes (x0, y0, x1, y1; pixels) and scores of the faces of an RGB uint8 (H, W, 3)
        picture.
        """
        longest = max(image.shape[:2])
        scale = min(1.0, DETECT_SIDE / longest)
        found = self._large_faces(_reduced(image, scale) if scale < 1.0 else image)
        if not found and longest > 2 * DETECT_SIDE:
            return self._small_faces(image)
        return [(_divided(box, scale), score) for box, score in found]

    def _large_faces(self, image: np.ndarray) -> list[Find]:
        """Return the faces of a picture of at most DETECT_SIDE a side: from 80 px, or from 40 px
        where there are none.
        """
        seen = _run(self._detector, image, 0, DETECT_SCORE - SCAN_SLACK)
        found = [(box, score) for box, score in seen if score >= DETECT_SCORE]
        if found:
            return found
        # a face of 80 px or more may score more when it is magnified
        if self._doubtful(image, seen, DETECT_SCORE):
            return _run(self._detector, image, 1, DETECT_SCORE)
        if self._might_show(image, islice(_sizes(image), 2), DETECT_SCORE):
            return _run(self._smallest, image, 1, DETECT_SCORE)
        return []

    def _small_faces(self, image: np.ndarray) -> list[Find]:
        """Return the faces that are too small to be seen in the picture at DETECT_SIDE: at the
        first size at which there are any.
        """
        near: list[Piece] = []
        far: list[Piece] = []
        for piece in _pieces(image):
            sizes = _sizes(_reduced(piece[1], 0.5))
            (near if self._might_show(piece[1], sizes, PIECE_SCORE) else far).append(piece)
        found = self._in_pieces(near, upsampling=0)
        if found or image.shape[0] * image.shape[1] > UPSAMPLED_PIXELS:
            return found
        near += [
            piece
            for piece in far
            if self._might_show(piece[1], islice(_sizes(piece[1]), 2), PIECE_SCORE)
        ]
        return self._in_pieces(near, upsampling=1)

    def _in_pieces(self, pieces: list[Piece], *, upsampling: int) -> list[Find]:
        return _distinct(
            [
                ((left + x0, top + y0, left + x1, top + y1), score)
                for (top, left), pixels in pieces
                for (x0, y0, x1, y1), score in _run(self._detector, pixels, upsampling, PIECE_SCORE)
            ]
        )

    def _might_show(self, image: np.ndarray, sizes: Iterable[np.ndarray], score: float) -> bool:
        """Say whether a place of a picture might score that much as a face.

        sizes: of the picture, to be scanned one after the other.
        """
        for size in sizes:
            scale = size.shape[0] / image.shape[0]
            places = [
                (_divided(box, scale), sure)
                for box, sure in _run(self._scan, size, 0, score - SCAN_SLACK)
            ]
            if self._doubtful(image, places, score):
                return True
        return False

    def _doubtful(self, image: np.ndarray, places: list[Find], score: float) -> bool:
        """Say whether one of these places, magnified, comes near that score."""
        return len(places) > MOST_PLACES or any(
            _run(self._detector, _around(image, box), 1, score - CROP_SLACK) for box, _ in places
        )


def _run(detector: Any, image: np.ndarray, upsampling: int, score: float) -> list[Find]:
    """Return the finds with at least that score, surest first."""
    boxes, scores, _ = detector.run(np.ascontiguousarray(image), upsampling, score)
    return [
        ((box.left(), box.top(), box.right(), box.bottom()), float(sure))
        for box, sure in zip(boxes, scores, strict=True)
    ]


def _sizes(image: np.ndarray) -> Iterator[np.ndarray]:
    """Yield a picture and what it is reduced to, by SCAN_STEP each time, while a face fits in."""
    while True:
        yield image
        if min(image.shape[:2]) * SCAN_STEP < 8 * SCAN_CELL:
            return
        image = _reduced(image, SCAN_STEP)


def _around(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Return a place with as much again on each side; a face larger than dlib needs is reduced."""
    x0, y0, x1, y1 = box
    side = x1 - x0
    crop = image[max(0, y0 - side) : y1 + side, max(0, x0 - side) : x1 + side]
    return _reduced(crop, min(1.0, CELL * WINDOW_CELLS / side))


def _reduced(image: np.ndarray, scale: float) -> np.ndarray:
    """Return a picture at `scale` (at most 1) of its size; a long strip keeps its other side."""
    import cv2

    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _divided(box: tuple[int, int, int, int], scale: float) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = (round(edge / scale) for edge in box)
    return x0, y0, x1, y1


def _pieces(image: np.ndarray) -> Iterator[Piece]:
    """Yield the pieces of a picture that are not flat: they overlap by more than the faces that are
    searched for.
    """

    def starts(length: int) -> range:
        return range(0, max(length - OVERLAP, 1), PIECE - OVERLAP)

    for top in starts(image.shape[0]):
        for left in starts(image.shape[1]):
            piece = image[top : top + PIECE, left : left + PIECE]
            if float(piece[::8, ::8].std(axis=(0, 1)).max()) > FLAT:
                yield (top, left), piece


def _distinct(found: list[Find]) -> list[Find]:
    """Return the surest of the boxes whose middles lie in each other: the same face in two
    pieces.
    """
    kept: list[Find] = []
    for box, score in sorted(found, key=lambda one: -one[1]):
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        if not any(k[0] <= x <= k[2] and k[1] <= y <= k[3] for k, _ in kept):
            kept.append((box, score))
    return kept
