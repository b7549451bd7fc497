"""The guided filter: a mask whose edges follow those of a picture (He, Sun and Tang 2010, Guided
Image Filtering, eq. 5-8).
"""

from __future__ import annotations

import numpy as np


def guided_filter(guide: np.ndarray, mask: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Return (H, W) float32: `mask` (H, W) as a locally linear function of `guide` (H, W), both
    float32 in 0 to 1.

    radius: of the windows in pixels. epsilon: variance of the guide below which it counts as flat,
    and the mask is only averaged.
    """
    import cv2

    def mean(array: np.ndarray) -> np.ndarray:
        blurred: np.ndarray = cv2.blur(array, (2 * radius + 1, 2 * radius + 1))
        return blurred

    guide, mask = guide.astype(np.float32), mask.astype(np.float32)
    mean_guide, mean_mask = mean(guide), mean(mask)
    slope = (mean(guide * mask) - mean_guide * mean_mask) / (
        mean(guide * guide) - mean_guide**2 + epsilon
    )
    return mean(slope) * guide + mean(mean_mask - slope * mean_guide)
