"""The source's face in the target's light, and the blend of the two."""

from __future__ import annotations

import numpy as np

# What counts as light, in inter-eye distances: shading coarser than this is the target's, everything finer the source's own.
LIGHT = 0.55
# At most so much is a place of the face made lighter, darker or recoloured beyond the overall shift, in CIELAB units: a beard, or a hand
# that colour took for skin, must not be copied as if it were a shadow.
LOCAL_LIMIT = (14.0, 6.0, 6.0)
LEVELS = 5


def relight(face: np.ndarray, target: np.ndarray, weight: np.ndarray, between_eyes: float) -> np.ndarray:
    """`face`, warped onto the target, in the target's colours and light. Pictures RGB float32 0-255, (H, W, 3).

    weight: (H, W), how surely a pixel is skin in both. First the middle and the spread of each CIELAB channel are matched over the skin
    (medians: a shadow or a highlight does not count for all), then the coarse shading that is left is added, limited.
    """
    import cv2

    lab, wanted = (cv2.cvtColor(np.clip(picture, 0, 255) / 255, cv2.COLOR_RGB2LAB) for picture in (face, target))
    sure = weight > 0.7
    if sure.sum() < 50:
        sure = weight >= np.quantile(weight, 0.9)
    for channel in range(3):
        own, theirs = lab[..., channel][sure], wanted[..., channel][sure]
        middle, to = float(np.median(own)), float(np.median(theirs))
        low, high = 0.85, 1.15
        gain = float(np.clip(_spread(theirs) / max(_spread(own), 1e-3), low, high))
        lab[..., channel] = (lab[..., channel] - middle) * gain + to
    sigma = LIGHT * between_eyes
    solid = (weight * weight)[..., None]
    mass = cv2.GaussianBlur(weight * weight, (0, 0), sigma)[..., None]
    shading = cv2.GaussianBlur((wanted - lab) * solid, (0, 0), sigma) / (mass + 0.02)
    limit = np.array(LOCAL_LIMIT, np.float32)
    lab += limit * np.tanh(shading / limit)
    lab[..., 0] = np.clip(lab[..., 0], 0, 100)
    lit: np.ndarray = np.clip(cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB), 0, 1) * 255
    return lit


def _spread(values: np.ndarray) -> float:
    """Half the distance between the 16th and the 84th percentile: the standard deviation of a normal distribution."""
    low, high = np.percentile(values, (16, 84))
    return float(high - low) / 2


def blend(front: np.ndarray, back: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Multiband blending (Burt and Adelson 1983): coarse bands over wide seams, fine ones over narrow. RGB float32, mask (H, W) 0-1.

    Unlike gradient-domain cloning it cannot carry the colour of hair or wall at the seam into the face.
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
