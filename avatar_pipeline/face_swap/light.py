"""The source's face in the target's light."""

from __future__ import annotations

import numpy as np

# What counts as light, in inter-eye distances: shading coarser than this is the target's,
# everything finer the source's own.
LIGHT = 0.55
# At most so much is a place of the face made lighter, darker or recoloured beyond the overall
# shift, in CIELAB units: a beard, or a hand that colour took for skin, must not be copied as if it
# were a shadow.
LOCAL_LIMIT = (14.0, 6.0, 6.0)
SPREAD = (0.85, 1.15)  # by how much the contrast of the skin may be changed
EYES_SPARED = 0.5
# Width of the rim in which the result meets the target, in inter-eye distances, and how far colours
# may be moved there, in CIELAB units.
EDGE, EDGE_LIMIT = 0.4, (25.0, 10.0, 10.0)


def relight(
    face: np.ndarray,
    target: np.ndarray,
    skin: np.ndarray,
    mask: np.ndarray,
    eyes: np.ndarray,
    between_eyes: float,
) -> np.ndarray:
    """Return `face`, warped onto the target, in the target's colours and light. Pictures RGB
    float32 0-255, (H, W, 3).

    skin: (H, W), how surely a pixel is skin in both. mask: (H, W), where `face` will show. eyes:
    (H, W), 1 over the eyes, whose whites and pupils are no darker for a darker skin. First the
    middle of each CIELAB channel is matched over the skin (medians: a shadow or a highlight does
    not count for all), then the coarse shading that is left, limited, and last what still differs
    along the mask's edge.
    """
    import cv2

    lab, wanted = (
        cv2.cvtColor(np.clip(picture, 0, 255) / 255, cv2.COLOR_RGB2LAB)
        for picture in (face, target)
    )
    sure = skin > 0.7
    if sure.sum() < 50:
        sure = skin >= np.quantile(skin, 0.9)
    own, theirs = np.median(lab[sure], axis=0), np.median(wanted[sure], axis=0)
    gain = np.clip(_spread(wanted[sure]) / np.maximum(_spread(lab[sure]), 1e-3), *SPREAD)
    # Lightness is multiplied, so that black stays black: an added one would lift pupils and brows
    # to grey. For the same reason a dark pixel takes less of the colour.
    dark = np.clip(lab[..., 0] / max(float(own[0]), 1), 0, 1)
    part = 1 - EYES_SPARED * eyes
    ratio = float(np.clip(theirs[0] / max(float(own[0]), 1), 0.4, 2.5))
    contrast = (lab[..., 0] - own[0]) * (gain[0] - 1) * dark
    lab[..., 0] = (lab[..., 0] + contrast) * ratio**part
    for channel in (1, 2):
        matched = (lab[..., channel] - own[channel]) * gain[channel] + theirs[channel]
        lab[..., channel] += (matched - lab[..., channel]) * dark * part
    shading = _spreading(wanted - lab, skin * skin, LIGHT * between_eyes, 0.02)
    limit = np.array(LOCAL_LIMIT, np.float32)
    lab += limit * np.tanh(shading / limit) * (dark * part)[..., None]
    # Along the edge the two must agree whatever the reason; the correction fades within EDGE
    # inter-eye distances.
    solid = (mask > 0.02).astype(np.uint8)
    depth = cv2.distanceTransform(np.pad(solid, 1), cv2.DIST_L2, 3)[1:-1, 1:-1] / (
        EDGE * between_eyes
    )
    rim = np.exp(-np.square(depth / 0.45)) * np.clip(skin, 0.02, 1) * solid
    left = _spreading(wanted - lab, rim, 0.5 * EDGE * between_eyes, 1e-3)
    limit = np.array(EDGE_LIMIT, np.float32)
    lab += limit * np.tanh(left / limit) * (np.exp(-np.square(depth)) * dark)[..., None]
    lab[..., 0] = np.clip(lab[..., 0], 0, 100)
    lit: np.ndarray = np.clip(cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB), 0, 1) * 255
    return lit


def _spreading(values: np.ndarray, weight: np.ndarray, sigma: float, floor: float) -> np.ndarray:
    """Return the weighted mean of `values` (H, W, 3) around each pixel, 0 where there is no weight.
    Blurred on a reduced grid, for time.
    """
    import cv2

    height, width = weight.shape
    step = max(1, int(sigma / 8))
    size = (max(1, width // step), max(1, height // step))
    both = np.dstack([values * weight[..., None], weight]).astype(np.float32)
    both = cv2.GaussianBlur(
        cv2.resize(both, size, interpolation=cv2.INTER_AREA), (0, 0), sigma / step
    )
    spread: np.ndarray = cv2.resize(
        both[..., :3] / (both[..., 3:] + floor), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return spread


def _spread(values: np.ndarray) -> np.ndarray:
    """Return (3,) half the distances between the 16th and the 84th percentiles: the standard
    deviations of normal distributions.
    """
    low, high = np.percentile(values, (16, 84), axis=0)
    return np.asarray((high - low) / 2, np.float32)
