"""Where the person is, yes or no: GrabCut (Rother, Kolmogorov and Blake 2004) started from what a
face shows of head and body.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avatar_pipeline.faces.analyzers.head_model import HEAD
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance

ITERATIONS = 4
# All in inter-eye distances. The head with a large head of hair, and the body below, as half axes
# around and reaches from the chin.
HAIR_HALF_WIDTH, HAIR_UP, HAIR_DOWN = 2.3, 2.9, 2.4
NECK_HALF, SHOULDERS_HALF, TORSO_DOWN = 0.55, 4.4, 5.5
# The skull above the brows in the units of head_model.HEAD, whose crown is near y = -1.75: whatever
# covers it, hair or none, is the person.
SKULL = np.array(
    [
        (-0.74, -0.9, 0.4),
        (-0.68, -1.2, 0.4),
        (-0.45, -1.52, 0.4),
        (0.0, -1.68, 0.4),
        (0.45, -1.52, 0.4),
        (0.68, -1.2, 0.4),
        (0.74, -0.9, 0.4),
    ]
)
# From the hips, so far below the chin, no leg stands farther to the side than this: it is ground or
# wall.
HIPS, STANCE = 8.0, 6.5
# What hangs on the person by less than this is no part of it: a shelf behind the shoulder, a bench
# beside the arm.
NECK_OF_CLUTTER = 0.45
SEAM = 0.15  # of clothes
# CIELAB distances: a wall is plain when half of it is nearer than the first to one of three
# colours, and alike is up to the second.
PLAIN, ALIKE = 3.0, 8.0
# Width of the band in which the matte is solved, on each side of the mask's edge: around hair, and
# elsewhere.
HAIR_BAND, BODY_BAND = 0.30, 0.07
# of the shorter side: the strip along the top and upper sides that is wall, where it is not where
# hair would be
CORNER = 0.04


def person_mask(image: np.ndarray, landmarks: Sequence[np.ndarray]) -> np.ndarray:
    """Return (H, W) uint8, 1 for the person, of an RGB uint8 picture of at most some 600 pixels a
    side and the (68, 2) landmarks of its faces.
    """
    import cv2

    height, width = image.shape[:2]
    marks = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    if not landmarks:
        x, y = round(width * 0.2), round(height * 0.12)
        marks[y:, x : width - x] = cv2.GC_PR_FGD
    for points in landmarks:
        _mark_likely(marks, points)
    _mark_wall(marks, landmarks)
    cv2.setRNGSeed(0)  # colour clusters start at random
    marks[_like_a_plain_wall(image, marks == cv2.GC_BGD) & (marks == cv2.GC_PR_FGD)] = cv2.GC_PR_BGD
    for points in landmarks:
        _mark_sure(marks, points)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    smooth = cv2.bilateralFilter(image, 5, 20, 3)
    cv2.grabCut(smooth, marks, None, *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    mask = np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    return _tidied(mask, landmarks)


def trimap(mask: np.ndarray, landmarks: Sequence[np.ndarray]) -> np.ndarray:
    """Return (H, W) float32: 1 surely the person, 0 surely not, 0.5 in the band around the mask's
    edge, wider where hair is.
    """
    import cv2

    height, width = mask.shape
    between = [inter_eye_distance(points) for points in landmarks] or [min(mask.shape) / 8]
    result = _band(mask, max(2, round(BODY_BAND * max(between))))
    for points, eyes in zip(landmarks, between, strict=False):
        around = np.zeros((height, width), np.uint8)
        middle = points[36:48].mean(axis=0)
        cv2.ellipse(
            around, _round(middle), (round(3.2 * eyes), round(3.6 * eyes)), 0, 0, 360, 1, -1
        )
        wide = _band(mask, max(3, round(HAIR_BAND * eyes)))
        # The face's own edge is skin, which no hair frays: its inside stays sure.
        sure = cv2.fillConvexPoly(
            np.zeros_like(mask), cv2.convexHull(points.round().astype(np.int32)), 1
        )
        wide[(sure > 0) & (mask > 0)] = np.maximum(wide, result)[(sure > 0) & (mask > 0)]
        result = np.where(around > 0, wide, result)
    return result.astype(np.float32)


def _band(mask: np.ndarray, reach: int) -> np.ndarray:
    import cv2

    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    result = np.full(mask.shape, 0.5, np.float32)
    # beyond the picture's edge OpenCV goes on with what is inside
    result[cv2.erode(mask, kernel) > 0] = 1
    result[cv2.dilate(mask, kernel) == 0] = 0
    return result


def _mark_likely(marks: np.ndarray, points: np.ndarray) -> None:
    import cv2

    eyes, middle, chin = inter_eye_distance(points), points[36:48].mean(axis=0), points[8]
    center = middle + np.array([0, (HAIR_DOWN - HAIR_UP) / 2 * eyes])
    axes = (round(HAIR_HALF_WIDTH * eyes), round((HAIR_UP + HAIR_DOWN) / 2 * eyes))
    cv2.ellipse(marks, _round(center), axes, 0, 0, 360, cv2.GC_PR_FGD, -1)
    x, y = chin
    body = np.array(
        [
            (x - NECK_HALF * eyes, y),
            (x + NECK_HALF * eyes, y),
            (x + SHOULDERS_HALF * eyes, y + 0.7 * eyes),
            (x + SHOULDERS_HALF * eyes, marks.shape[0] + 1),
            (x - SHOULDERS_HALF * eyes, marks.shape[0] + 1),
            (x - SHOULDERS_HALF * eyes, y + 0.7 * eyes),
        ]
    )
    cv2.fillPoly(marks, [body.round().astype(np.int32)], cv2.GC_PR_FGD)


def _mark_wall(marks: np.ndarray, landmarks: Sequence[np.ndarray]) -> None:
    """Mark the top edge and the sides' upper half as wall where no hair is to be expected; the two
    upper corners always are, and what is beside the legs of a whole body.
    """
    import cv2

    height, width = marks.shape
    strip = max(2, round(CORNER * min(height, width)))
    edge = np.zeros(marks.shape, bool)
    edge[:strip] = edge[: height // 2, :strip] = edge[: height // 2, -strip:] = True
    marks[edge & (marks == cv2.GC_PR_BGD)] = cv2.GC_BGD
    marks[:strip, :strip] = marks[:strip, -strip:] = cv2.GC_BGD
    beside = np.ones(width, bool)
    for points in landmarks:
        reach = STANCE * inter_eye_distance(points)
        beside[
            max(0, round(float(points[8, 0] - reach))) : max(0, round(float(points[8, 0] + reach)))
        ] = False
    if landmarks:
        hips = max(float(points[8, 1]) + HIPS * inter_eye_distance(points) for points in landmarks)
        marks[min(height, round(hips)) :, beside] = cv2.GC_BGD


def _like_a_plain_wall(image: np.ndarray, wall: np.ndarray) -> np.ndarray:
    """Return (H, W) bool: what has the colours of a plain wall. Nothing where the wall is not
    plain: the person has such colours too.

    Without it a patch of wall where hair or shoulders may be stays with the person: GrabCut takes
    its colour for one of theirs.
    """
    import cv2

    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    samples = lab[wall]
    if len(samples) < 3:
        return np.zeros(wall.shape, bool)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 10, 0.5)
    _, _, centres = cv2.kmeans(samples, 3, None, stop, 2, cv2.KMEANS_PP_CENTERS)

    def off(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(
            np.min([np.linalg.norm(pixels - centre, axis=-1) for centre in centres], axis=0)
        )

    plain = float(np.median(off(samples))) < PLAIN
    return off(lab) < ALIKE if plain else np.zeros(wall.shape, bool)


def _mark_sure(marks: np.ndarray, points: np.ndarray) -> None:
    import cv2

    eyes, chin = inter_eye_distance(points), points[8]
    affine, *_ = np.linalg.lstsq(
        np.hstack([HEAD, np.ones((68, 1))]), points.astype(np.float64), rcond=None
    )
    skull = np.hstack([SKULL, np.ones((len(SKULL), 1))]) @ affine
    hull = cv2.convexHull(np.vstack([points, skull]).round().astype(np.int32))
    cv2.fillConvexPoly(marks, hull, cv2.GC_FGD)
    top, bottom = round(float(chin[1])), round(float(chin[1] + TORSO_DOWN * eyes))
    half = max(1, round(0.4 * eyes))
    x = round(float(chin[0]))
    marks[top:bottom, max(0, x - half) : x + half] = cv2.GC_FGD


def _tidied(mask: np.ndarray, landmarks: Sequence[np.ndarray]) -> np.ndarray:
    """Keep only what hangs together with a face (or, without one, the largest part), without small
    holes.
    """
    import cv2

    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return mask
    if landmarks:
        return _filled(_without_clutter(mask, landmarks))
    return _filled((labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8))


def _without_clutter(mask: np.ndarray, landmarks: Sequence[np.ndarray]) -> np.ndarray:
    """Keep what hangs together with a face by more than a thin bridge, and its own surroundings."""
    import cv2

    result = np.zeros_like(mask)
    # A shirt's seam in the shade has the wall's grey, and cuts the sleeve off.
    seam = max(3, round(SEAM * max(map(inter_eye_distance, landmarks))) | 1)
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((seam, seam), np.uint8))
    chin = round(max(float(points[8, 1]) for points in landmarks))
    mask = np.vstack([mask[:chin], closed[chin:]])  # between curls, the wall is a wall
    for points in landmarks:
        width = max(3, round(NECK_OF_CLUTTER * inter_eye_distance(points)) | 1)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
        _, labels = cv2.connectedComponents(cv2.erode(mask, kernel))
        core = (labels == labels[_inside(points[30], mask.shape)]).astype(np.uint8)
        wide = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
        result |= cv2.dilate(core, wide) & mask
    count, labels = cv2.connectedComponents(result)
    wanted = {int(labels[_inside(points[30], mask.shape)]) for points in landmarks} - {0}
    return np.isin(labels, list(wanted)).astype(np.uint8) if count > 1 else result


def _filled(mask: np.ndarray) -> np.ndarray:
    """Fill small holes."""
    import cv2

    holes, labels, stats, _ = cv2.connectedComponentsWithStats(1 - mask)
    for label in range(1, holes):
        if stats[label, cv2.CC_STAT_AREA] < 0.002 * mask.size:
            mask[labels == label] = 1
    return mask


def _inside(point: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int]:
    return int(np.clip(point[1], 0, shape[0] - 1)), int(np.clip(point[0], 0, shape[1] - 1))


def _round(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
