"""Single measures of a picture of a face: light, sharpness, noise, blocks, background.

Landmarks are (68, 2) in the iBUG order, pixels. Pictures are RGB uint8 (H, W, 3). The measures of
light follow BSI-OFIQ/OFIQ-Project (MIT): OFIQlib/modules/utils/src/image_utils.cpp and
modules/measures/src/, which implement ISO/IEC 29794-5.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from avatar_pipeline.faces.framing import Framing, eyes_and_mouth, frame_head, similarity

# An aligned face of ALIGNED_SIZE pixels a side has the detail of LivePortrait's 512 crop: there the
# landmark box, 2.36 inter-eye distances, is 512 / 2.3 = 223 pixels long, which is 94 pixels between
# the eyes; here it is 0.42 x 224.
ALIGNED_SIZE = 224
INTER_EYE, EYE_Y = 0.42, 0.36

# OFIQ: borders of the luminance histogram that count as too dark and too bright; the cheek zone's
# side in inter-eye distances.
DARK, BRIGHT = 25, 247
CHEEK_SIDE = 0.3

# OFIQ, utils.cpp (alignImage) and BackgroundUniformity.h: a 616 px picture with the eyes at (251,
# 272) and (364, 272), of which 62 columns at both sides and 210 rows at the bottom are cut off, to
# just below the mouth, where shoulders begin; then 354 x 292.
_BACKGROUND = Framing(354, 292, 113 / 492, 272 / 492)
# Half axes, in inter-eye distances, of an ellipse about a point between the eyes that holds head
# and hair. OFIQ has a network that outlines the person; this one holds all of it on openpeople's
# portraits but for long hair.
_HEAD_WIDTH, _HEAD_HEIGHT = 1.35, 2.3
# Least share of OFIQ's background frame that must be visible background, to say anything about it.
_MIN_BACKGROUND = 0.03

_CROP_FACE = 223  # pixels: the landmark box in LivePortrait's 512 crop
_BLOCKS_SIDE = 320  # pixels: 40 x 40 blocks from the middle of a face are enough to see their edges


def align_face(image: np.ndarray, landmarks: np.ndarray, size: int = ALIGNED_SIZE) -> np.ndarray:
    """Return the face upright at a fixed place and size, (size, size, 3) uint8; pixels outside the
    picture repeat its edge.

    landmarks: (68, 2) or (106, 2).
    """
    return _framed(image, landmarks, Framing(size, size, INTER_EYE, EYE_Y))[0]


def _framed(
    image: np.ndarray, landmarks: np.ndarray, framing: Framing
) -> tuple[np.ndarray, np.ndarray]:
    """Run frame_head on the part of the picture that it reads: shrinking a large photograph whole
    takes longer than all measures.
    """
    matrix = similarity(eyes_and_mouth(landmarks), framing.targets())
    back = np.linalg.inv(matrix[:, :2])
    corners = (
        np.array([(0, 0), (framing.width, 0), (0, framing.height), (framing.width, framing.height)])
        - matrix[:, 2]
    ) @ back.T
    edge = 4 + 4 / np.sqrt(abs(np.linalg.det(matrix[:, :2])))  # what the filters reach beyond it
    limits = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(corners.min(axis=0) - edge), 0, limits - 2).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0) + edge), low + 2, limits).astype(int)
    return frame_head(
        image[low[1] : high[1], low[0] : high[0]], landmarks - low.astype(np.float32), framing
    )


def align_landmarks(landmarks: np.ndarray, size: int = ALIGNED_SIZE) -> np.ndarray:
    """Return where `align_face` puts the landmarks, (N, 2) float32."""
    matrix = similarity(eyes_and_mouth(landmarks), Framing(size, size, INTER_EYE, EYE_Y).targets())
    return (landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def face_mask(landmarks: np.ndarray, size: int = ALIGNED_SIZE) -> np.ndarray:
    """Return the convex hull of aligned landmarks, (size, size) bool: the face without hair and
    neck.
    """
    import cv2

    mask = np.zeros((size, size), dtype=np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.round(landmarks).astype(np.int32)), 1)
    return mask.astype(bool)


def luminance(image: np.ndarray) -> np.ndarray:
    """Return the linear-light luminance (Rec. 709 weights on linearised sRGB), (H, W) uint8."""
    red, green, blue = _light_tables()
    return (red[image[..., 0]] + green[image[..., 1]] + blue[image[..., 2]]).astype(np.uint8)


def linear_light() -> np.ndarray:
    """Return (256,) float64 in [0, 1]: the light that each sRGB level stands for (IEC
    61966-2-1).
    """
    levels = np.arange(256) / 255
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


@cache
def _light_tables() -> np.ndarray:
    """Return (3, 256) float32: what each level of each channel adds to the luminance in 0-255;
    rounding is in the first one.
    """
    tables = np.outer([0.2126, 0.7152, 0.0722], linear_light()) * 255
    tables[0] += 0.5
    return tables.astype(np.float32)


def sharpness(aligned: np.ndarray, mask: np.ndarray) -> float:
    """Return the variance of the Laplacian inside the mask divided by the variance of the picture
    there.

    Gray levels, not linear light. The division makes the measure independent of contrast, and so of
    skin tone.
    """
    import cv2

    gray = cv2.cvtColor(aligned, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(gray, cv2.CV_32F)[mask].var() / max(gray[mask].var(), 1.0))


def noise(image: np.ndarray, landmarks: np.ndarray) -> float:
    """Return the standard deviation of the noise in a face in grey levels (Immerkaer 1996, Fast
    Noise Variance Estimation).

    landmarks: (N, 2) pixels. Measured on the picture's own pixels, or on a large face reduced to
    the size of LivePortrait's crop: what is averaged away then does not matter. The median takes
    the place of his mean, so that lashes and beards do not count as noise.
    """
    import cv2

    low = np.maximum(np.floor(landmarks.min(axis=0)), 0).astype(int)
    high = np.ceil(landmarks.max(axis=0)).astype(int)
    face = image[low[1] : high[1], low[0] : high[0]]
    if min(face.shape[:2]) < 8:
        return 0.0
    scale = _CROP_FACE / max(face.shape[:2])
    scale = scale if scale < 0.67 else 1.0  # a slight reduction blurs instead of averaging
    face = (
        cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if scale < 1
        else face
    )
    mask = np.zeros(face.shape[:2], np.uint8)
    cv2.fillConvexPoly(
        mask, cv2.convexHull(np.round((landmarks - low) * scale).astype(np.int32)), 1
    )
    gray = face.astype(np.float32) @ np.array(
        [0.299, 0.587, 0.114], np.float32
    )  # unrounded, or the median moves in steps of 0.25
    kernel = np.array([(1, -2, 1), (-2, 4, -2), (1, -2, 1)], np.float32)
    # The kernel's weights have a square sum of 36; the median of a normal distribution's magnitude
    # is 0.6745 deviations.
    return float(np.median(np.abs(cv2.filter2D(gray, cv2.CV_32F, kernel)[mask > 0])) / (6 * 0.6745))


def blockiness(image: np.ndarray, box: np.ndarray) -> float:
    """Return how much a grid of 8 pixels stands out in the box (x0, y0, x1, y1) of a picture: 1
    without JPEG blocks, more with them.

    The mean jump between neighbours at one of the eight phases of the grid, over that at the
    others; the strongest phase, so that a picture cropped after compression counts too. One that
    was resized has no grid any more, and reads as 1.
    """
    import cv2

    height, width = image.shape[:2]
    middle, half = (box[:2] + box[2:]) / 2, np.minimum((box[2:] - box[:2]) / 2, _BLOCKS_SIDE / 2)
    x0, y0, x1, y1 = np.clip(
        np.concatenate([middle - half, middle + half]), 0, (width, height, width, height)
    ).astype(int)
    if min(x1 - x0, y1 - y0) < 24:  # not two blocks
        return 1.0
    gray = cv2.cvtColor(image[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY).astype(np.float32)
    strongest = 0.0
    for picture in (gray, gray.T):
        # The third difference is 0 in a smooth slope, and largest for a jump between its two middle
        # pixels.
        jumps = np.abs(
            picture[:, 3:] - 3 * picture[:, 2:-1] + 3 * picture[:, 1:-2] - picture[:, :-3]
        ).mean(axis=0)
        phases = jumps[: len(jumps) // 8 * 8].reshape(-1, 8).mean(axis=0)
        strongest += float((7 * phases / np.maximum(phases.sum() - phases, 1e-3)).max())
    return strongest / 2


def background_unrest(image: np.ndarray, landmarks: np.ndarray) -> float | None:
    """Return the mean Sobel magnitude of the luminance beside and above the head, as OFIQ's
    BackgroundUniformity.cpp but for the mask.

    landmarks: (68, 2), pixels. None when hardly any background is inside the picture.
    """
    import cv2

    framed, inside = _framed(image, landmarks, _BACKGROUND)
    background = (inside & _beside_the_head()).astype(np.uint8)
    background = cv2.erode(background, np.ones((4, 4), np.uint8))
    if background.mean() < _MIN_BACKGROUND:
        return None
    light = luminance(framed)
    across, down = (
        cv2.Sobel(light, cv2.CV_32F, *order, ksize=cv2.FILTER_SCHARR) for order in ((1, 0), (0, 1))
    )
    # In double precision: the last digits of a float32 sum depend on where in memory the picture
    # lies.
    return float(np.hypot(across, down, dtype=np.float64)[background.astype(bool)].mean())


@cache
def _beside_the_head() -> np.ndarray:
    """Return where OFIQ's background frame shows no head, (292, 354) bool."""
    left, right, _ = _BACKGROUND.targets()
    unit = float(right[0] - left[0])
    y, x = np.mgrid[: _BACKGROUND.height, : _BACKGROUND.width]
    middle = (left + right) / 2
    return ((x - middle[0]) / (_HEAD_WIDTH * unit)) ** 2 + (
        (y - middle[1]) / (_HEAD_HEIGHT * unit)
    ) ** 2 > 1


def exposure(light: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Return the shares (0 to 1) of the masked luminance (H, W) uint8 that are too dark (0-25) and
    too bright (247-255).
    """
    values = light[mask]
    return float((values <= DARK).mean()), float((values >= BRIGHT).mean())


def dynamic_range(light: np.ndarray, mask: np.ndarray) -> float:
    """Return the entropy of the masked luminance histogram in bits, 0 to 8."""
    share = np.bincount(light[mask], minlength=256) / mask.sum()
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def illumination_uniformity(light: np.ndarray, landmarks: np.ndarray) -> float:
    """Return how alike left and right cheek are lit, 0 to 100: OFIQ's map 100 x^0.3 of the
    intersection of their histograms.

    light: aligned luminance (H, W) uint8. landmarks: aligned, (68, 2) or (106, 2).
    """
    left, right, mouth = eyes_and_mouth(landmarks)
    zone = max(1, int(CHEEK_SIDE * np.linalg.norm(right - left)))
    down = int(np.linalg.norm(mouth - (left + right) / 2) / 2)
    histograms = []
    for x, y in ((int(left[0]), int(left[1]) + down), (int(right[0]) - zone, int(right[1]) + down)):
        values = light[y : y + zone, x : x + zone].ravel()
        histograms.append(np.bincount(values, minlength=256) / max(values.size, 1))
    return float(100 * np.minimum(*histograms).sum() ** 0.3)
