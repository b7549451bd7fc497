"""Alpha matting: how much of each pixel at the edge is the person, and what colour that part
has.
"""

from __future__ import annotations

import numpy as np

# Levin, Lischinski and Weiss 2006, A Closed Form Solution to Natural Image Matting: colours along a
# line in each 3 x 3 window. Their epsilon of 1e-7 is for noiseless pictures; JPEG's noise of one or
# two grey levels asks for this one.
REGULARISATION = 1e-5
# rows of a large picture worked on at a time: a 50 megapixel one would need gigabytes at once
STRIP = 512


def closed_form(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return (H, W) float32 alpha, 0 to 1, of an RGB uint8 picture. known: (H, W), 0 or 1 where
    alpha is known, anything between elsewhere.
    """
    from scipy.sparse.linalg import LinearOperator, cg, spilu

    alpha = known.astype(np.float32).copy()
    unknown = (known > 0) & (known < 1)
    if not unknown.any():
        return alpha
    laplacian = _laplacian(image, unknown)
    inside = np.flatnonzero(unknown.ravel())
    outside = np.flatnonzero(~unknown.ravel())
    left = laplacian[inside][:, inside].tocsc()
    right = -laplacian[inside][:, outside] @ alpha.ravel()[outside].astype(np.float64)
    left = left + 1e-8 * _identity(len(inside))
    factors = spilu(
        left, drop_tol=1e-4, fill_factor=8, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0
    )
    start = np.full(len(inside), 0.5)
    solved, _ = cg(
        left, right, x0=start, rtol=1e-4, maxiter=300, M=LinearOperator(left.shape, factors.solve)
    )
    alpha.ravel()[inside] = np.clip(solved, 0, 1)
    return alpha


def _identity(size: int):  # type: ignore[no-untyped-def]
    from scipy.sparse import identity

    return identity(size, format="csc")


def _laplacian(image: np.ndarray, unknown: np.ndarray):  # type: ignore[no-untyped-def]
    """Return the matting Laplacian as a sparse (HW, HW) matrix, of the 3 x 3 windows that touch an
    unknown pixel.
    """
    import cv2
    from scipy.sparse import coo_matrix

    height, width = unknown.shape
    touched = cv2.dilate(unknown.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    touched[0] = touched[-1] = False
    touched[:, 0] = touched[:, -1] = False
    rows, columns = np.nonzero(touched)
    offsets = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)])
    pixels = (rows[:, None] + offsets[:, 0]) * width + columns[:, None] + offsets[:, 1]  # (N, 9)
    colours = (image.reshape(-1, 3)[pixels] / 255.0).astype(np.float64)
    centred = colours - colours.mean(axis=1, keepdims=True)
    covariance = np.einsum("nki,nkj->nij", centred, centred) / 9 + REGULARISATION / 9 * np.eye(3)
    weights = (1 + np.einsum("nki,nij,nlj->nkl", centred, np.linalg.inv(covariance), centred)) / 9
    values = np.eye(9) - weights
    first = np.repeat(pixels, 9, axis=1)
    second = np.tile(pixels, (1, 9))
    size = height * width
    return coo_matrix((values.ravel(), (first.ravel(), second.ravel())), shape=(size, size)).tocsr()


def refine(image: np.ndarray, small: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return (H, W) float32: the alpha of `small` at the size of `image`, with edges where the
    large picture has them.

    A fast guided filter (He and Sun 2015): alpha as a locally linear function of the small
    picture's colours, applied to the large one's.
    """
    import cv2

    size = (small.shape[1], small.shape[0])
    if alpha.shape != small.shape[:2]:
        alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    if image.shape == small.shape:
        return np.clip(alpha, 0, 1).astype(np.float32)
    slope, constant = _linear(small.astype(np.float32) / 255, alpha.astype(np.float32), 2, 1e-5)
    line = np.dstack([slope, constant, alpha, _busy(alpha)]).astype(np.float32)
    result = np.empty(image.shape[:2], np.float32)
    for rows in _strips(len(result)):
        found = [_enlarged(part, image.shape, rows) for part in (line[..., :3], line[..., 3:])]
        fitted = (found[0] * (image[rows].astype(np.float32) / 255)).sum(axis=2) + found[1][..., 0]
        # Where the small alpha is 0 or 1 for sure, so is the large one: the linear function
        # overshoots on pores and seams.
        plain, edge = found[1][..., 1], found[1][..., 2]
        result[rows] = np.clip(plain + edge * (np.clip(fitted, 0, 1) - plain), 0, 1)
    return result


def _strips(height: int) -> list[slice]:
    return [slice(top, min(top + STRIP, height)) for top in range(0, height, STRIP)]


def _enlarged(array: np.ndarray, shape: tuple[int, ...], rows: slice) -> np.ndarray:
    """Return these rows of `array` (h, w, C) float32 enlarged to `shape`, bilinear: what cv2.resize
    would give, a strip at a time.
    """
    import cv2

    down, right = array.shape[0] / shape[0], array.shape[1] / shape[1]
    back = np.array([[right, 0, 0.5 * right - 0.5], [0, down, (rows.start + 0.5) * down - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (shape[1], rows.stop - rows.start)
    strip: np.ndarray = cv2.warpAffine(
        array, back, size, flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return strip


def _busy(alpha: np.ndarray) -> np.ndarray:
    import cv2

    busy = ((alpha > 0.02) & (alpha < 0.98)).astype(np.uint8)
    return cv2.dilate(busy, np.ones((5, 5), np.uint8)).astype(np.float32)


def _linear(
    guide: np.ndarray, mask: np.ndarray, radius: int, epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return slope (H, W, 3) and constant (H, W) of `mask` as a linear function of the colours of
    `guide`, averaged over the windows.
    """
    import cv2

    def mean(array: np.ndarray) -> np.ndarray:
        blurred: np.ndarray = cv2.blur(array, (2 * radius + 1, 2 * radius + 1))
        return blurred

    middle, average = mean(guide), mean(mask)
    covariance = np.empty((*mask.shape, 3, 3), np.float32)
    for i in range(3):
        for j in range(3):
            covariance[..., i, j] = (
                mean(guide[..., i] * guide[..., j]) - middle[..., i] * middle[..., j]
            )
    covariance += epsilon * np.eye(3, dtype=np.float32)
    together = np.stack(
        [mean(guide[..., i] * mask) - middle[..., i] * average for i in range(3)], axis=-1
    )
    slope = np.linalg.solve(covariance, together[..., None])[..., 0]
    return mean(slope), mean(average - (slope * middle).sum(axis=2))


def foreground(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8: the person's own colour in every pixel, so that the old wall does not
    shine through hair.

    Forte 2021, Approximate Fast Foreground Colour Estimation (blur fusion, twice), with the
    neighbourhoods' colours from a reduced picture.
    """
    import cv2

    height, width = alpha.shape
    scale = min(1.0, 1024 / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    little = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    matte = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    near, far = _fused(little, little, little, matte, 90)
    front, back = _means(near, far, matte, 6)
    result = image.copy()
    for rows in _strips(height):
        share = alpha[rows][..., None]
        if not (share < 1).any():
            continue
        ahead, behind = (_enlarged(means, alpha.shape, rows) for means in (front, back))
        own = ahead + share * (image[rows] - share * ahead - (1 - share) * behind)
        result[rows] = np.where(share >= 1, image[rows], own.round().clip(0, 255).astype(np.uint8))
    return result


def _means(
    front: np.ndarray, back: np.ndarray, alpha: np.ndarray, radius: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean colours of foreground and background around each pixel, weighted by how much
    of each is there.
    """
    import cv2

    side = (2 * radius + 1, 2 * radius + 1)
    share = alpha[..., None]
    much = cv2.blur(alpha, side)[..., None]
    return (
        cv2.blur(front * share, side) / (much + 1e-5),
        cv2.blur(back * (1 - share), side) / (1 - much + 1e-5),
    )


def _fused(
    image: np.ndarray, front: np.ndarray, back: np.ndarray, alpha: np.ndarray, radius: int
) -> tuple[np.ndarray, np.ndarray]:
    ahead, behind = _means(front, back, alpha, radius)
    share = alpha[..., None]
    return np.clip(ahead + share * (image - share * ahead - (1 - share) * behind), 0, 255), behind
