"""An invisible watermark: one bit, "made by avatar_pipeline", in the pixels, for what drops content
credentials. Off unless asked for.

A spread-spectrum mark after Cox, Kilian, Leighton, Shamoon (IEEE Transactions on Image Processing
6, 1997), written here. Of the libraries at hand, invisible-watermark asks for torch and a second
OpenCV, is experimental, and works on blocks of fixed size, which a change of the picture's size
moves; the learned ones download weights. The picture is brought to SIDE x SIDE pixels, so that a
change of size changes nothing; a fixed random pattern of signs is added to the middle frequencies
of its cosine transform, in proportion to what the picture itself has there, and more where there is
texture. To find it, the same frequencies are compared with the pattern.
Its limits: any reader of this file can remove it, or put it onto a photograph: it is a hint, no
proof. It does not survive cropping, turning and mirroring. What it survives is measured by
benchmarks/signing.py. Videos and pictures below MIN_SIDE pixels are not marked.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache

import numpy as np
from PIL import Image

SIDE = 512
MIN_SIDE = (
    256  # pixels of the shorter side: below, the frequencies that are marked are not all there
)
# frequencies, in half waves across the picture: below they are seen, above JPEG drops them
RING = (20, 110)
# Of the picture's own spread at each frequency: the least that gives TARGET_SIGMAS. At the last
# one, walls begin to look stained.
STRENGTHS = (0.10, 0.12, 0.14, 0.16, 0.18, 0.20, 0.22)
# standard deviations, so that what JPEG and scaling take leaves DETECTION_SIGMAS
TARGET_SIGMAS = 9.0
DETECTION_SIGMAS = 6.0  # standard deviations: by chance once in a billion pictures
VARIABLE = "AVATAR_WATERMARK"


def is_wanted() -> bool:
    """Return whether pictures of the service are to be marked: AVATAR_WATERMARK is 1, true, yes or
    on.
    """
    return os.environ.get(VARIABLE, "").strip().lower() in ("1", "true", "yes", "on")


def embed(image: Image.Image) -> Image.Image:
    """Return the picture with the mark, RGB or RGBA; as it is when it is too small. The same
    picture always gives the same.
    """
    import cv2

    if min(image.size) < MIN_SIDE:
        return image
    pixels = np.asarray(image).astype(np.float32)
    small = _small(pixels)
    spectrum = cv2.dct(small)
    ring, chips = _pattern()
    marked = np.zeros_like(spectrum)
    marked[ring] = chips * _spread(spectrum)[ring]
    change = cv2.idct(marked) * _texture(small)
    share = next(
        (share for share in STRENGTHS if _strength(small + share * change) >= TARGET_SIGMAS),
        STRENGTHS[-1],
    )
    pixels[..., :3] += cv2.resize(share * change, image.size, interpolation=cv2.INTER_CUBIC)[
        ..., None
    ]
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def strength(image: Image.Image) -> float:
    """Return how clearly the mark is there, in standard deviations of what chance gives;
    DETECTION_SIGMAS and more counts as found.
    """
    return _strength(_small(np.asarray(image.convert("RGB")).astype(np.float32)))


def _strength(small: np.ndarray) -> float:
    import cv2

    spectrum = cv2.dct(small)
    ring, chips = _pattern()
    # a line or a grid in the picture must not outvote all others
    correlation = np.clip(spectrum[ring] / _spread(spectrum)[ring], -3, 3)
    return float((correlation * chips).sum() / np.sqrt((correlation**2).sum() + 1e-9))


def _small(pixels: np.ndarray) -> np.ndarray:
    """Return the luminance at SIDE x SIDE, 0 to 255."""
    import cv2

    grey = pixels[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
    return cv2.resize(
        grey,
        (SIDE, SIDE),
        interpolation=cv2.INTER_AREA if min(grey.shape) > SIDE else cv2.INTER_CUBIC,
    )


def _spread(spectrum: np.ndarray) -> np.ndarray:
    """Return how large coefficients are around each, so that no direction or frequency counts more
    than another.
    """
    import cv2

    return np.maximum(cv2.blur(np.abs(spectrum), (15, 15)), 0.5)


def _texture(small: np.ndarray) -> np.ndarray:
    """Return how much change goes unseen, about 1 on average: more on hair and cloth than on a
    wall.
    """
    import cv2

    spread = np.sqrt(np.maximum(cv2.blur(small**2, (17, 17)) - cv2.blur(small, (17, 17)) ** 2, 0))
    share = np.clip(spread / max(float(spread.mean()), 1e-3), 0.2, 2.0)
    return cv2.GaussianBlur(share, (0, 0), 6)


@lru_cache(maxsize=1)
def _pattern() -> tuple[np.ndarray, np.ndarray]:
    """Return which frequencies are marked, (SIDE, SIDE) bool, and the sign of each. From a hash, so
    that no library's generator can change it.
    """
    axis = np.arange(SIDE)
    radius = np.hypot(axis[:, None], axis[None, :])
    ring = (radius >= RING[0]) & (radius < RING[1]) & (axis[:, None] > 2) & (axis[None, :] > 2)
    count = int(ring.sum())
    stream = b"".join(
        hashlib.sha256(b"avatar_pipeline %d" % block).digest() for block in range(count // 256 + 1)
    )
    bits = np.unpackbits(np.frombuffer(stream, np.uint8))[:count]
    return ring, bits.astype(np.float32) * 2 - 1
