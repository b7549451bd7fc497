"""Single measures of a face, each a small function of landmarks or of an aligned face picture.

Landmarks are (68, 2) in the iBUG order, pixels. Pictures are RGB uint8 (H, W, 3). The measures of light follow
BSI-OFIQ/OFIQ-Project (MIT): OFIQlib/modules/utils/src/image_utils.cpp and modules/measures/src/, which implement ISO/IEC 29794-5.
"""

from __future__ import annotations

import numpy as np

from avatar_pipeline.faces.framing import Framing, eyes_and_mouth, frame_head, similarity

# An aligned face of ALIGNED_SIZE pixels a side has the detail of LivePortrait's 512 crop: there the landmark box, 2.36 inter-eye
# distances, is 512 / 2.3 = 223 pixels long, which is 94 pixels between the eyes; here it is 0.42 x 224.
ALIGNED_SIZE = 224
INTER_EYE, EYE_Y = 0.42, 0.36

# OFIQ: borders of the luminance histogram that count as too dark and too bright; the cheek zone's side in inter-eye distances.
DARK, BRIGHT = 25, 247
CHEEK_SIDE = 0.3


def inter_eye_distance(landmarks: np.ndarray) -> float:
    """Distance of the eye centres in pixels."""
    left, right, _ = eyes_and_mouth(landmarks)
    return float(np.linalg.norm(right - left))


def eye_openness(landmarks: np.ndarray) -> float:
    """Eye aspect ratio of the less open eye (Soukupova and Cech 2016): near 0.3 when open, under 0.15 when closed."""

    def ratio(eye: np.ndarray) -> float:
        lids = np.linalg.norm(eye[1] - eye[5]) + np.linalg.norm(eye[2] - eye[4])
        return float(lids / (2 * np.linalg.norm(eye[0] - eye[3])))

    return min(ratio(landmarks[36:42]), ratio(landmarks[42:48]))


def mouth_opening(landmarks: np.ndarray) -> float:
    """Gap between the inner lips as a share of the mouth's width: near 0 when closed."""
    return float(np.linalg.norm(landmarks[62] - landmarks[66]) / np.linalg.norm(landmarks[48] - landmarks[54]))


def align_face(image: np.ndarray, landmarks: np.ndarray, size: int = ALIGNED_SIZE) -> np.ndarray:
    """The face upright at a fixed place and size, (size, size, 3) uint8; pixels outside the picture repeat its edge.

    landmarks: (68, 2) or (106, 2).
    """
    return frame_head(image, landmarks, Framing(size, size, INTER_EYE, EYE_Y))[0]


def align_landmarks(landmarks: np.ndarray, size: int = ALIGNED_SIZE) -> np.ndarray:
    """Where `align_face` puts the landmarks, (N, 2) float32."""
    matrix = similarity(eyes_and_mouth(landmarks), Framing(size, size, INTER_EYE, EYE_Y).targets())
    return (landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def face_mask(landmarks: np.ndarray, size: int = ALIGNED_SIZE) -> np.ndarray:
    """The convex hull of aligned landmarks, (size, size) bool: the face without hair and neck."""
    import cv2

    mask = np.zeros((size, size), dtype=np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.round(landmarks).astype(np.int32)), 1)
    return mask.astype(bool)


def luminance(image: np.ndarray) -> np.ndarray:
    """Linear-light luminance (Rec. 709 weights on linearised sRGB), (H, W) uint8."""
    levels = np.arange(256) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return np.floor(linear[image] @ np.array([0.2126, 0.7152, 0.0722]) * 255 + 0.5).astype(np.uint8)


def sharpness(aligned: np.ndarray, mask: np.ndarray) -> float:
    """Variance of the Laplacian inside the mask divided by the variance of the picture there.

    Gray levels, not linear light. The division makes the measure independent of contrast, and so of skin tone.
    """
    import cv2

    gray = cv2.cvtColor(aligned, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(gray, cv2.CV_32F)[mask].var() / max(gray[mask].var(), 1.0))


def exposure(light: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Shares (0 to 1) of the masked luminance (H, W) uint8 that are too dark (0-25) and too bright (247-255)."""
    values = light[mask]
    return float((values <= DARK).mean()), float((values >= BRIGHT).mean())


def dynamic_range(light: np.ndarray, mask: np.ndarray) -> float:
    """Entropy of the masked luminance histogram in bits, 0 to 8."""
    share = np.bincount(light[mask], minlength=256) / mask.sum()
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def illumination_uniformity(light: np.ndarray, landmarks: np.ndarray) -> float:
    """How alike left and right cheek are lit, 0 to 100: OFIQ's map 100 x^0.3 of the intersection of their histograms.

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
