"""Pictures made worse in one known way and by a known amount, to see at which strength a check
fires.

A picture is RGB uint8 (H, W, 3), its landmarks (68, 2) in the iBUG order and pixels. Every function
returns a new picture; those that move the face change where it lies, so it must be found again.
Light is dimmed and raised in linear light, as a camera does.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from avatar_pipeline.faces.crop import SCALE, SHIFT_UP, source_crop
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance
from avatar_pipeline.faces.measurements import linear_light

# height of a lid's edge above its landmarks, in widths of the eye: it moves, and is not stretched
LASHES = 0.05
UPPER, BROW = 0.65, 0.7  # of the lids' distance: what the upper lid moves, and the brow
LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)


def blur(image: np.ndarray, landmarks: np.ndarray, share: float) -> np.ndarray:
    """Out of focus: a Gaussian whose standard deviation is `share` of the inter-eye distance."""
    import cv2

    return cv2.GaussianBlur(image, (0, 0), max(share * inter_eye_distance(landmarks), 1e-3))


def add_noise(
    image: np.ndarray, landmarks: np.ndarray, deviation: float, seed: int = 0
) -> np.ndarray:
    """High ISO: Gaussian noise of `deviation` grey levels in every channel, at the size at which
    LivePortrait's crop is cut.

    A larger picture is reduced to that size first: noise of single pixels would vanish when
    LivePortrait reduces it.
    """
    image = to_crop_size(image, landmarks)
    noise = np.random.default_rng(seed).normal(0, deviation, image.shape)
    return (image + noise).round().clip(0, 255).astype(np.uint8)


def compress(image: np.ndarray, landmarks: np.ndarray, quality: float) -> np.ndarray:
    """Saved as a JPEG of `quality` 1 to 95, at the size at which LivePortrait's crop is cut, with
    halved colours (4:2:0).
    """
    buffer = io.BytesIO()
    Image.fromarray(to_crop_size(image, landmarks)).save(buffer, "JPEG", quality=round(quality))
    return np.asarray(Image.open(buffer).convert("RGB"))


def expose(image: np.ndarray, landmarks: np.ndarray, stops: float) -> np.ndarray:
    """`stops` more light (or less, when negative) reaches the sensor; what exceeds white is
    clipped.
    """
    return _from_linear(_to_linear(image) * 2.0**stops)


def light_from_the_side(image: np.ndarray, landmarks: np.ndarray, stops: float) -> np.ndarray:
    """The picture's right half of the face gets `stops` less light, with a soft edge of half an
    inter-eye distance on the nose.
    """
    height, width = image.shape[:2]
    left, right = landmarks[LEFT_EYE].mean(axis=0), landmarks[RIGHT_EYE].mean(axis=0)
    across = (right - left) / np.linalg.norm(right - left) ** 2
    y, x = np.mgrid[:height, :width].astype(np.float32)
    place = (x - landmarks[30, 0]) * across[0] + (y - landmarks[30, 1]) * across[1]
    shade = np.clip(place / 0.5 + 0.5, 0, 1)
    return _from_linear(_to_linear(image) * (2.0 ** (-stops * shade))[..., None])


def rotate(image: np.ndarray, landmarks: np.ndarray, degrees: float) -> np.ndarray:
    """Turned clockwise about the face; the picture's edge is repeated where nothing was."""
    import cv2

    x, y = landmarks.mean(axis=0)
    matrix = cv2.getRotationMatrix2D((float(x), float(y)), -degrees, 1.0)
    return cv2.warpAffine(
        image, matrix, image.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )


def shrink(image: np.ndarray, landmarks: np.ndarray, face_size: float) -> np.ndarray:
    """Reduced until the landmark box is `face_size` pixels long. Raises ValueError when it is
    smaller already.
    """
    factor = face_size / source_crop(landmarks).face_size
    if factor > 1:
        raise ValueError(f"The face is smaller than {face_size:g} pixels already.")
    return _resized(image, factor)


def to_crop_size(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Reduced until LivePortrait's 512 pixel crop needs no reduction; a smaller picture stays as it
    is.
    """
    return _resized(image, min(1.0, 512 / SCALE / source_crop(landmarks).face_size))


def move_out(image: np.ndarray, landmarks: np.ndarray, share: float) -> np.ndarray:
    """The picture cut so that `share` of the width of LivePortrait's crop lies left of it; 2 % of
    room at the other sides.

    A negative share leaves room. Where the crop reaches beyond the picture, the picture's edge is
    repeated.
    """
    import cv2

    crop = source_crop(landmarks)
    x0, y0 = crop.corners.min(axis=0)
    x1, y1 = crop.corners.max(axis=0)
    room = 0.02 * crop.side
    left, top, right, bottom = (
        round(float(v)) for v in (x0 + share * crop.side, y0 - room, x1 + room, y1 + room)
    )
    height, width = image.shape[:2]
    beyond = (max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width))
    wide = cv2.copyMakeBorder(image, *beyond, cv2.BORDER_REPLICATE)
    return wide[top + beyond[0] : bottom + beyond[0], left + beyond[2] : right + beyond[2]].copy()


def add_face(image: np.ndarray, landmarks: np.ndarray, size: float) -> np.ndarray:
    """A second head, `size` times as large as the first, in a strip added at the right."""
    import cv2

    crop = source_crop(landmarks)
    side = round(crop.side * 0.8)
    x, y = landmarks.mean(axis=0) - (0, 2 * SHIFT_UP * crop.face_size)
    left, top = round(float(x)) - side // 2, round(float(y)) - side // 2
    pad = cv2.copyMakeBorder(image, side, side, side, side, cv2.BORDER_REPLICATE)
    head = _resized(pad[top + side : top + 2 * side, left + side : left + 2 * side], size)
    wide = cv2.copyMakeBorder(image, 0, 0, 0, head.shape[1], cv2.BORDER_REPLICATE)
    start = min(max(0, top), max(0, wide.shape[0] - head.shape[0]))
    room = wide[start : start + head.shape[0], -head.shape[1] :]
    room[:] = head[: room.shape[0]]
    return wide


def close_eyes(image: np.ndarray, landmarks: np.ndarray, share: float) -> np.ndarray:
    """The lids brought together by `share` of their distance, 0 to 1, as in blinking hard: the brow
    comes down, the cheek comes up.
    """
    for eye, brow in (
        (landmarks[LEFT_EYE], landmarks[17:22]),
        (landmarks[RIGHT_EYE], landmarks[22:27]),
    ):
        corners = eye[0], eye[3]
        upper, lower = _curve(eye[:4], *corners), _curve(eye[[0, 5, 4, 3]], *corners)
        low_brow = float(_along(brow, *corners)[:, 1].max())

        def lids(
            u: np.ndarray,
            v: np.ndarray,
            upper: np.poly1d = upper,
            lower: np.poly1d = lower,
            low_brow: float = low_brow,
        ) -> tuple[np.ndarray, np.ndarray]:
            inside = np.clip(u, 0, 1)
            top, bottom = upper(inside), np.maximum(lower(inside), upper(inside))
            # A blink moves corners and brow's ends a little too: without a drop there, the lids
            # would meet at a sharp angle.
            gap = share * (bottom - top)
            brow_drop = (
                BROW
                * share
                * float((lower - upper)(0.5))
                * np.cos(np.pi / 2.4 * np.clip(u - 0.5, -1.2, 1.2)) ** 2
            )
            brow = np.minimum(low_brow, top - LASHES - 0.05)
            sources = brow - 1.0, brow, top - LASHES, top, bottom, bottom + 0.9
            shut = top + UPPER * gap
            knots = (
                sources[0],
                brow + brow_drop,
                shut - LASHES,
                shut,
                bottom - (1 - UPPER) * gap,
                sources[5],
            )
            return _stretch(v, knots, sources), np.zeros((*v.shape, 4), np.float32)

        image = _bend(image, *corners, lids)
    return image


def open_mouth(image: np.ndarray, landmarks: np.ndarray, share: float) -> np.ndarray:
    """The lips parted by `share` of the mouth's width: lower lip and jaw move down, and a dark
    mouth with upper teeth shows.
    """
    corners = landmarks[48], landmarks[54]
    seam = _curve((landmarks[60:65] + landmarks[[60, 67, 66, 65, 64]]) / 2, *corners)
    nose, chin = (float(_along(landmarks[[point]], *corners)[0, 1]) for point in (33, 8))
    floor = chin + 1.2

    def jaw(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inside = np.clip(u, 0, 1)
        line, opening = seam(inside), share * np.sin(np.pi * inside)
        top, bottom = line - 0.15 * opening, line + 0.85 * opening
        # of the chin; 0 beyond the jaw's sides
        drop = 0.6 * share * np.cos(np.pi / 3 * np.clip(u - 0.5, -1.5, 1.5)) ** 2
        source = _stretch(
            v,
            (np.full_like(v, nose), top, bottom, chin + drop, np.full_like(v, floor)),
            (nose, line, line, chin, floor),
        )
        # 2 % of the mouth's width: the lips' soft shadow
        cover = np.clip(np.minimum(v - top, bottom - v) / 0.02, 0, 1)
        teeth = np.clip((top + 0.3 * opening - v) / 0.02, 0, 1) * (opening > 0.1)
        return source, np.concatenate(
            [MOUTH + teeth[..., None] * (TEETH - MOUTH), cover[..., None]], axis=-1
        )

    return _bend(image, *corners, jaw)


Warp = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

MOUTH, TEETH = np.array((62.0, 24.0, 22.0)), np.array((205.0, 195.0, 182.0))  # RGB


def _bend(image: np.ndarray, corner: np.ndarray, other: np.ndarray, warp: Warp) -> np.ndarray:
    """Move pixels across the line between two corners, and paint over them.

    warp: from (u, v), along and down from the line in units of its length, to the v to fetch from
    and (..., 4) what is laid over it: RGB and its share, 0 to 1.
    """
    import cv2

    width = float(np.linalg.norm(other - corner))
    limits = np.array([image.shape[1], image.shape[0]])
    middle, reach = (corner + other) / 2, 3 * width
    (x0, y0), (x1, y1) = (
        np.maximum(middle - reach, 0).astype(int),
        np.minimum(middle + reach, limits).astype(int),
    )
    y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    right = (other - corner) / width
    down = np.array([-right[1], right[0]])

    u = ((x - corner[0]) * right[0] + (y - corner[1]) * right[1]) / width
    v = ((x - corner[0]) * down[0] + (y - corner[1]) * down[1]) / width
    source, cover = warp(u, v)
    from_x, from_y = (
        (corner[axis] + (u * right[axis] + source * down[axis]) * width).astype(np.float32)
        for axis in (0, 1)
    )
    fetched = cv2.remap(image, from_x, from_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    colour, opaque = cover[..., :3], cover[..., 3:]
    result = image.copy()
    result[y0:y1, x0:x1] = (fetched * (1 - opaque) + colour * opaque).round().astype(np.uint8)
    return result


def _stretch(
    v: np.ndarray, knots: Sequence[np.ndarray], sources: Sequence[np.ndarray | float]
) -> np.ndarray:
    """Where to fetch v from, so that each knot shows its source and the parts between are
    stretched; unmoved beyond the ends.
    """
    result = v.copy()
    for low, high, source_low, source_high in zip(
        knots, knots[1:], sources, sources[1:], strict=False
    ):
        part = (v - low) / np.maximum(high - low, 1e-3)
        result = np.where(
            (v >= low) & (v < high),
            source_low + part * (np.asarray(source_high) - source_low),
            result,
        )
    return result


def _along(points: np.ndarray, corner: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N, 2) points as (u, v): along the line from corner to other, and down from it, in units of
    its length.
    """
    right = (other - corner) / np.linalg.norm(other - corner) ** 2
    return (points - corner) @ np.array([right, (-right[1], right[0])]).T


def _curve(points: np.ndarray, corner: np.ndarray, other: np.ndarray) -> np.poly1d:
    """The cubic v(u) through the points."""
    u, v = _along(points, corner, other).T
    return np.poly1d(np.polyfit(u, v, 3))


def _resized(image: np.ndarray, factor: float) -> np.ndarray:
    import cv2

    return (
        image
        if factor == 1
        else cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    )


def _to_linear(image: np.ndarray) -> np.ndarray:
    return linear_light().astype(np.float32)[image]


def _from_linear(light: np.ndarray) -> np.ndarray:
    light = light.clip(0, 1)
    return (
        (np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255)
        .round()
        .astype(np.uint8)
    )
