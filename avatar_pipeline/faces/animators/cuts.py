"""Where animators cut a source picture, and to what size they bring it: one function for each way.

None of their code is here; each function follows what theirs computes, rounding included.
benchmarks/animator_conformance.py runs theirs beside ours, and what theirs gave is recorded in
tests/unit/faces/animator_cuts.json. All coordinates are pixels of the upright picture, from its
top left corner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from avatar_pipeline.faces.crop import CROP_SIZE, source_crop

Box = tuple[float, float, float, float]  # x0, y0, x1, y1
Buckets = Mapping[float, tuple[int, int]]  # height and width by their ratio


@dataclass(frozen=True, eq=False)
class Cut:
    """The part of a picture that an animator's network is given.

    corners: (4, 2) float64, pixels, from the top left clockwise as the network sees it; beyond the
    picture where the animator fills up. width, height: of what the network is given, in pixels.
    """

    corners: np.ndarray
    width: int
    height: int

    def scales(self) -> tuple[float, float]:
        """By how much the picture is enlarged across and down; below 1 it is reduced."""
        top_left, top_right, _, bottom_left = self.corners
        across = float(np.linalg.norm(top_right - top_left))
        down = float(np.linalg.norm(bottom_left - top_left))
        return self.width / across, self.height / down

    def squeezed(self) -> float:
        """How much wider than it is the face becomes: 1 where the shape is kept."""
        across, down = self.scales()
        return across / down

    def outside(self, width: int, height: int) -> float:
        """Return the share (0 to 1) of the cut that lies outside a picture of this size."""
        import cv2

        picture = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
        corners = self.corners.astype(np.float32)
        inside, _ = cv2.intersectConvexConvex(corners, picture)
        return min(1.0, max(0.0, 1.0 - inside / max(float(cv2.contourArea(corners)), 1e-6)))


def rectangle(box: Box, width: int, height: int) -> Cut:
    """Return the cut of an upright box, brought to this size."""
    x0, y0, x1, y1 = box
    return Cut(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64), width, height)


def rotated_square(landmarks: np.ndarray, ratio: np.ndarray) -> Cut:
    """LivePortrait, FasterLivePortrait, Ditto: a square 2.3 times the box of the landmarks along
    the face's own axes, moved up by an eighth of it, 512 pixels; black outside the picture.

    landmarks: (68, 2) or (106, 2) float32. ratio: (2,), by which the picture is resized first.
    """
    matrix = source_crop((landmarks + 0.5) * ratio - 0.5).matrix
    ends = np.array([(0, 0), (CROP_SIZE, 0), (CROP_SIZE, CROP_SIZE), (0, CROP_SIZE)], np.float64)
    # the matrix maps the middles of pixels, which lie half a pixel from their corners
    corners = (ends - 0.5 - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T + 0.5
    return Cut(corners / ratio, CROP_SIZE, CROP_SIZE)


def reduced_to(width: int, height: int, longest: int) -> np.ndarray:
    """LivePortrait's resize_to_limit: (2,), by what width and height change. The trimming of odd
    sides afterwards moves nothing.
    """
    if max(width, height) <= longest:
        return np.ones(2)
    if height > width:
        return np.array([int(width * (longest / height)) / width, longest / height])
    return np.array([longest / width, int(height * (longest / width)) / height])


def reduced_to_even(width: int, height: int, longest: int) -> np.ndarray:
    """Ditto's check_resize: (2,), by what width and height change. Odd sides are resized, too."""
    wide, high = width, height
    if max(width, height) > longest:
        if height > width:
            wide, high = round(width * longest / height), longest
        else:
            wide, high = longest, round(height * longest / width)
    return np.array([wide // 2 * 2 / width, high // 2 * 2 / height])


def grown_box(box: Box, share: float, width: int, height: int) -> Box:
    """HunyuanPortrait and Sonic: the box grown by `share` of itself on each side and clipped at the
    picture's edge; of that, a square of the shorter side, moved along the longer one towards the
    face. Whole pixels.
    """
    x0, y0, x1, y1 = box
    wide, high = x1 - x0, y1 - y0
    left, right = max(x0 - share * wide, 0), min(x1 + share * wide, width)
    top, bottom = max(y0 - share * high, 0), min(y1 + share * high, height)
    wide, high = right - left, bottom - top
    x, y = (left + right) / 2, (top + bottom) / 2
    slack = abs(high - wide) / 2
    if wide < high:
        y += math.copysign(min(slack, abs((y0 + y1) / 2 - y)), (y0 + y1) / 2 - y)
    else:
        x += math.copysign(min(slack, abs((x0 + x1) / 2 - x)), (x0 + x1) / 2 - x)
    half = min(wide, high) / 2
    return (round(x - half), round(y - half), round(x + half), round(y + half))


def clipped_square(box: Box, ratio: float, width: int, height: int) -> Box:
    """SoulX-FlashHead with use_face_crop: a square `ratio` times as wide as the face, 55 % of it
    above the face's middle; what lies outside the picture is cut off, and the rest is stretched to
    a square again. Whole pixels.
    """
    x0, y0, x1, y1 = box
    side = (x1 - x0) * ratio
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return (
        int(max(0, x - side * 0.5)),
        int(max(0, y - side * 0.55)),
        int(min(width, x + side * 0.5)),
        int(min(height, y + side * 0.45)),
    )


def covering(width: int, height: int, target_width: int, target_height: int) -> Cut:
    """InfiniteTalk, MultiTalk and FlashHead: the picture reduced until it just covers the target,
    and the middle of it.
    """
    scale = max(target_width / width, target_height / height)
    across, down = math.ceil(width * scale), math.ceil(height * scale)
    left, top = round((across - target_width) / 2), round((down - target_height) / 2)
    x, y = width / across, height / down  # ceil makes both scales differ by a trifle
    return rectangle(
        (left * x, top * y, (left + target_width) * x, (top + target_height) * y),
        target_width,
        target_height,
    )


def covering_by_halves(width: int, height: int, target_width: int, target_height: int) -> Cut:
    """LongCat-Video-Avatar, by diffusers' VideoProcessor: as `covering`, in whole pixels, rounded
    down, and the middle of it by half lengths that are rounded down.
    """
    if target_width / target_height > width / height:
        across, down = target_width, height * target_width // width
    else:
        across, down = width * target_height // height, target_height
    left, top = across // 2 - target_width // 2, down // 2 - target_height // 2
    x, y = width / across, height / down
    return rectangle(
        (left * x, top * y, (left + target_width) * x, (top + target_height) * y),
        target_width,
        target_height,
    )


def short_side_covering(width: int, height: int, target_width: int, target_height: int) -> Cut:
    """Wan2.2-S2V: the shorter side brought to the target's shorter side, and the middle of that;
    black where the target is longer.
    """
    short = min(target_width, target_height)
    if width <= height:
        across, down = short, int(short * height / width)
    else:
        across, down = int(short * width / height), short
    left, top = (_margin(across, target_width), _margin(down, target_height))
    x, y = width / across, height / down
    return rectangle(
        (left * x, top * y, (left + target_width) * x, (top + target_height) * y),
        target_width,
        target_height,
    )


def _margin(length: int, target: int) -> int:
    """What torchvision's CenterCrop leaves away before the middle; negative where it fills up."""
    return -((target - length) // 2) if target > length else round((length - target) / 2)


def bucketed(width: int, height: int, buckets: Buckets) -> tuple[int, int]:
    """Return the bucket, width and height, whose ratio of height to width is nearest."""
    ratio = min(buckets, key=lambda known: abs(known - height / width))
    target_height, target_width = buckets[ratio]
    return target_width, target_height


def whole(width: int, height: int, target_width: int, target_height: int) -> Cut:
    """The whole picture, stretched to the target."""
    return rectangle((0, 0, width, height), target_width, target_height)


def within_area(width: int, height: int, area: int, step: int) -> tuple[int, int]:
    """EchoMimic V3: the picture's own size, reduced to an area, each side rounded down to a
    multiple of `step`.
    """
    ratio = math.sqrt(max(1.0, width * height / area))
    return int(width / ratio // step * step), int(height / ratio // step * step)


def within_padded_area(width: int, height: int, area: int, step: int = 64) -> tuple[int, int]:
    """Wan2.2-S2V: the largest of a hundred sizes whose sides, rounded up to a multiple of `step`,
    still fit into the area. Pictures that fit already are tried from their own size down.
    """
    low, high = 0.1, 1.0
    if width * height > area:
        b = (step - 1) * (width + height)
        a, c = width * height, (step - 1) ** 2 - area
        low = (-b + math.sqrt(b * b - 2 * a * c)) / (2 * a)
        high = math.sqrt(area / (width * height))
    for number in range(100):
        scale = high - (high - low) * number / 100
        across = math.ceil(int(width * scale) / step) * step
        down = math.ceil(int(height * scale) / step) * step
        if across * down <= area:
            return across, down
    ratio = width / height
    across = int((area * ratio) ** 0.5 // step * step)
    down = int((area / ratio) ** 0.5 // step * step)
    if across >= width or down >= height:
        across, down = width // step * step, height // step * step
    return across, down


def padded(width: int, height: int, area: int, step: int) -> Cut:
    """Wan-Animate: the whole picture inside a frame of its shape and of an area, each side rounded
    down to a multiple of `step`; black bars beside it.

    Their search for a better frame (calculate_new_size) calls a function of two parameters with
    three arguments; what catches that error falls back to this frame.
    """
    high = math.sqrt(area / (width / height))
    across, down = int(area / high // step * step), int(high // step * step)
    if height / width > down / across:
        inner = int(down / height * width)
        x, y, gap = width / inner, height / down, (int((across - inner) / 2), 0)
    else:
        inner = int(across / width * height)
        x, y, gap = width / across, height / inner, (0, int((down - inner) / 2))
    left, top = -gap[0] * x, -gap[1] * y
    return rectangle((left, top, left + across * x, top + down * y), across, down)


def lower_face(landmarks68: np.ndarray) -> Box:
    """MuseTalk: from the middle of the nose as far up as down to the chin; stretched to a square.

    landmarks68: (68, 2), iBUG order, taken as whole pixels.
    """
    points = landmarks68.astype(np.int32)
    middle, low = int(points[29, 1]), int(points[:, 1].max())
    return (
        float(points[:, 0].min()),
        float(max(0, middle - (low - middle))),
        float(points[:, 0].max()),
        float(low),
    )


def three_points(points: np.ndarray, side: int) -> Cut:
    """LatentSync: brows and nose brought to fixed places of a picture 75 to 100 in shape, by the
    rotation, scale and shift that fit best; then stretched to a square.

    points: (3, 2), the middles of the brow on the picture's left, of the other, and of the nose,
    whole pixels. side: of the square, 512 or 256.
    """
    unit = side / 256 * 2.8
    template = np.array([(17, 20), (58, 20), (37.5, 40)]) * unit
    source, target = points.mean(axis=0), template.mean(axis=0)
    a, b = points - source, template - target
    spread_a, spread_b = a.std(ddof=1), b.std(ddof=1)
    u, _, vt = np.linalg.svd((a / spread_a).T @ (b / spread_b))
    turn = (u @ vt).T
    if np.linalg.det(turn) < 0:
        vt[-1] *= -1
        turn = (u @ vt).T
    linear = spread_b / spread_a * turn
    width, height = int(75 * unit), int(100 * unit)
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64) - 0.5
    back = np.linalg.inv(linear)
    # their smoothing over frames adds this to the first frame, too; below two pixels
    shift = target + b[2] / spread_b - a[2] / spread_a
    return Cut((corners - shift) @ back.T + source + 0.5, side, side)
