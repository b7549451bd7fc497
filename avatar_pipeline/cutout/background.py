"""A person cut out of the picture: transparency, and hair in its own colour instead of the old
wall's.

By default without any model: what is the person is segmented by colour (GrabCut) from where the
face shows that head and body must be, and the edge, hair above all, is resolved by closed-form
matting. A matting model on disk is used instead when there is one (cutout/matting_model.py). Limits
without a model: a wall of the colour of hair, skin or clothes is taken along in part, and so is a
second person; with either, half a pixel of hair stays half transparent, as it should be.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.cutout.matting import closed_form, foreground, refine
from avatar_pipeline.cutout.matting_model import find_model
from avatar_pipeline.cutout.person_mask import person_mask, trimap
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance

SEGMENT_SIDE = 512  # pixels: GrabCut needs seconds for more, and gains nothing
# pixels between the eyes in the matte below which a head is segmented by itself, and at which size
SMALL_HEAD, HEAD_SIDE = 28.0, 320
# pixels: the edge is resolved at this size, and carried to the picture's own by its colours
MATTE_SIDE = 640


def cut_out(image: Image.Image, analyzer: FaceAnalyzer) -> Image.Image:
    """Return the person or people of an RGB picture, RGBA of the same size; straight (not
    premultiplied) alpha.

    Faces found by the analyzer show where the person is; without any, the middle of the picture is
    taken. Raises ModelError when $AVATAR_MATTING_MODEL names a model that cannot be used.
    """
    pixels = np.asarray(image.convert("RGB"))
    small = _at_most(pixels, MATTE_SIDE)
    model = find_model()
    alpha = model.alpha(pixels) if model else _by_colour(pixels, small, analyzer)
    alpha = refine(pixels, small, alpha)
    return Image.fromarray(
        np.dstack([foreground(pixels, alpha), (alpha * 255).round().astype(np.uint8)]), "RGBA"
    )


def on_colour(rgba: Image.Image, colour: str) -> Image.Image:
    """Return a cut-out laid onto a plain colour, "#RRGGBB" (RGB out). Raises GenerationError for
    another notation.
    """
    digits = colour[1:]
    if (
        len(colour) != 7
        or colour[0] != "#"
        or any(digit not in "0123456789abcdefABCDEF" for digit in digits)
    ):
        raise GenerationError(
            f"bg_color is {colour!r}: give a colour as #RRGGBB, six hexadecimal "
            "digits, such as #FFFFFF."
        )
    wall = Image.new("RGBA", rgba.size, (*bytes.fromhex(digits), 255))
    return Image.alpha_composite(wall, rgba.convert("RGBA")).convert("RGB")


def _by_colour(pixels: np.ndarray, small: np.ndarray, analyzer: FaceAnalyzer) -> np.ndarray:
    """Return (h, w) float32 alpha at the size of `small`."""
    import cv2

    faces: list[Face] = analyzer.analyze(pixels)
    reduced = _at_most(small, SEGMENT_SIDE)
    scale = reduced.shape[1] / pixels.shape[1]
    mask = person_mask(reduced, [face.landmarks68 * scale for face in faces])
    size = (small.shape[1], small.shape[0])
    mask = (cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5).astype(
        np.uint8
    )
    scale = small.shape[1] / pixels.shape[1]
    landmarks = [face.landmarks68 * scale for face in faces]
    for face, points in zip(faces, landmarks, strict=True):
        if inter_eye_distance(points) < SMALL_HEAD:
            _segment_head_again(pixels, face.landmarks68, mask, scale)
    return closed_form(small, trimap(mask, landmarks))


def _segment_head_again(
    pixels: np.ndarray, landmarks: np.ndarray, mask: np.ndarray, scale: float
) -> None:
    """Segment the head of a whole body, in `mask` at `scale`, again by itself: among a body's
    colours its few pixels of hair get lost.
    """
    import cv2

    between, middle = inter_eye_distance(landmarks), landmarks[36:48].mean(axis=0)
    low = np.maximum(middle - np.array([3.4, 3.6]) * between, 0).astype(int)
    high = np.minimum(middle + np.array([3.4, 4.0]) * between, pixels.shape[1::-1]).astype(int)
    crop = pixels[low[1] : high[1], low[0] : high[0]]
    factor = HEAD_SIDE / max(crop.shape[:2])
    size = (round(crop.shape[1] * factor), round(crop.shape[0] * factor))
    head = person_mask(
        cv2.resize(crop, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC),
        [(landmarks - low) * factor],
    )
    x0, y0 = (round(float(value) * scale) for value in low)
    chin = min(round(float(landmarks[8, 1]) * scale), mask.shape[0])
    x1, y1 = (round(float(value) * scale) for value in high)
    head = (
        cv2.resize(head.astype(np.float32), (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA) > 0.5
    ).astype(np.uint8)
    place = mask[y0:chin, x0:x1]
    place[:] = head[: place.shape[0], : place.shape[1]]


def _at_most(pixels: np.ndarray, side: int) -> np.ndarray:
    import cv2

    scale = side / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    reduced: np.ndarray = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return reduced
