"""LivePortrait's crop of a source picture, replayed, so that it can be judged before LivePortrait
runs.

Follows KwaiVGI/LivePortrait (MIT): src/utils/crop.py (parse_pt2_from_pt68, parse_pt2_from_pt106,
parse_rect_from_landmark, _estimate_similar_transform_from_pts, crop_image), src/utils/cropper.py
(Cropper.crop_source_image), src/utils/io.py (resize_to_limit) and the defaults of
src/config/argument_config.py. Like there, the 106-point branch belongs to InsightFace's landmarks
and the 68-point branch to the iBUG order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# ArgumentConfig: scale, vy_ratio, source_max_dim, source_division. CropConfig: dsize. vx_ratio is
# 0, and crop_image drops it.
SCALE = 2.3
SHIFT_UP = 0.125
MAX_SIDE = 1280
DIVISION = 2
CROP_SIZE = 512
INPUT_SIZE = 256  # Cropper.crop_source_image: what the network is given

# parse_pt2_from_pt68 (there 1-based): inner and outer points of the lids, and the mouth corners.
EYES_68, LIPS_68 = ((37, 40), (43, 46)), (49, 55)
# parse_pt2_from_pt106
EYES_106, LIPS_106 = ((33, 35, 40, 39), (87, 89, 94, 93)), (52, 61)


@dataclass(frozen=True, eq=False)
class SourceCrop:
    """Where LivePortrait cuts.

    side: length of the cut square in pixels. face_size: the longer side of the upright landmark
    box, side / 2.3, in pixels.
    angle: of the face against the picture in degrees, clockwise. corners: (4, 2) float32, pixels,
    from the top left clockwise as the face sees it. matrix: (2, 3) float64, from picture to the 512
    x 512 crop.
    """

    side: float
    face_size: float
    angle: float
    corners: np.ndarray
    matrix: np.ndarray


def source_crop(landmarks: np.ndarray) -> SourceCrop:
    """Return the crop for a face with (68, 2) or (106, 2) landmarks in pixels. Raises ValueError
    for another number of landmarks.
    """
    points = landmarks.astype(np.float64)
    eyes, mouth = _eyes_and_mouth(points)
    down = mouth - eyes
    length = float(np.linalg.norm(down))
    down = down / length if length > 1e-3 else np.array([0.0, 1.0])
    right = np.array([down[1], -down[0]])

    # The landmark box along the face's own axes, made square, scaled, and moved up.
    mean = points.mean(axis=0)
    upright = (points - mean) @ np.stack([right, down]).T
    low, high = upright.min(axis=0), upright.max(axis=0)
    face_size = float((high - low).max())
    side = face_size * SCALE
    middle = (low + high) / 2
    center = mean + right * middle[0] + down * (middle[1] - SHIFT_UP * side)

    scale = CROP_SIZE / side
    linear = scale * np.stack([right, down])
    matrix = np.hstack([linear, (CROP_SIZE / 2 - linear @ center)[:, None]])
    half = side / 2
    corners = np.array(
        [
            center + x * half * right + y * half * down
            for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ],
        np.float32,
    )
    return SourceCrop(
        side, face_size, float(np.degrees(np.arctan2(right[1], right[0]))), corners, matrix
    )


def load_scale(width: int, height: int) -> float:
    """Return by how much LivePortrait shrinks a picture of this size before it looks at it: 1 up to
    1280 pixels a side.
    """
    return min(1.0, MAX_SIDE / max(width, height))


def as_loaded(image: np.ndarray) -> np.ndarray:
    """Return an RGB uint8 (H, W, 3) picture as LivePortrait loads it: at most 1280 pixels a side,
    right and bottom trimmed to even.
    """
    import cv2

    height, width = image.shape[:2]
    if max(height, width) > MAX_SIDE:
        ratio = MAX_SIDE / max(height, width)
        size = (int(width * ratio), MAX_SIDE) if height > width else (MAX_SIDE, int(height * ratio))
        image = cv2.resize(image, size)
    height, width = image.shape[:2]
    return image[: height - height % DIVISION, : width - width % DIVISION]


def cut(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Cut the (512, 512, 3) uint8 crop of an RGB uint8 picture, landmarks in its own pixels; black
    outside the picture.
    """
    import cv2

    loaded = as_loaded(image)
    crop = source_crop(landmarks * load_scale(image.shape[1], image.shape[0]))
    return cv2.warpAffine(loaded, crop.matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR)


def network_input(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return what LivePortrait's network sees of the picture: its crop, (256, 256, 3) uint8."""
    import cv2

    return cv2.resize(cut(image, landmarks), (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_AREA)


def black_share(crop: SourceCrop, width: int, height: int) -> float:
    """Return the share (0 to 1) of the crop that lies outside a picture of this size, and so turns
    black; to four digits.
    """
    import cv2

    picture = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float32)
    inside, _ = cv2.intersectConvexConvex(crop.corners, picture)
    return round(min(1.0, max(0.0, 1.0 - inside / crop.side**2)), 4)


def _eyes_and_mouth(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the midpoints of the eyes and of the mouth corners, whose line LivePortrait turns
    upright.
    """
    if len(points) == 68:
        eyes, lips = [[i - 1 for i in eye] for eye in EYES_68], [i - 1 for i in LIPS_68]
    elif len(points) == 106:
        eyes, lips = [list(eye) for eye in EYES_106], list(LIPS_106)
    else:
        raise ValueError(f"LivePortrait's crop needs 68 or 106 landmarks, not {len(points)}.")
    left, right = (points[eye].mean(axis=0) for eye in eyes)
    return (left + right) / 2, points[lips].mean(axis=0)
