"""Statistics of sets of points: mean distance, clusters covered, Fréchet distance."""

from __future__ import annotations

import numpy as np

KMEANS_SEED = 17


def mean_distance(points: np.ndarray) -> float:
    """Return the mean Euclidean distance between two of (n, dimensions)."""
    points = np.asarray(points, np.float32) / 255
    squares = (points.astype(np.float64) ** 2).sum(axis=1)
    between = np.sqrt(
        np.maximum(squares[:, None] + squares - 2.0 * (points @ points.T).astype(np.float64), 0)
    )
    return float(between[np.triu_indices(len(points), 1)].mean())


def covered(data: np.ndarray, samples: np.ndarray, clusters: int) -> float:
    """Return the share of the clusters of the data (k-means) that one of the samples at least is
    nearest to.
    """
    from scipy.cluster.vq import kmeans2, vq

    spread = data.std(axis=0) + 1e-6
    centres, _ = kmeans2(
        data / spread, clusters, minit="++", rng=np.random.default_rng(KMEANS_SEED)
    )
    # k-means may leave one empty: that is none of the data's
    used = np.unique(vq(data / spread, centres)[0])
    return float(np.isin(used, vq(samples / spread, centres)[0]).mean())


def frechet(data: np.ndarray, samples: np.ndarray) -> float:
    """Return the distance between the normal distributions that fit both: sqrt of |m1 - m2|^2 +
    tr(C1 + C2 - 2 (C1 C2)^(1/2)).
    """
    first, second = np.cov(data, rowvar=False), np.cov(samples, rowvar=False)
    roots = np.sqrt(np.maximum(np.linalg.eigvals(first @ second).real, 0))
    squared = (
        ((data.mean(axis=0) - samples.mean(axis=0)) ** 2).sum()
        + np.trace(first)
        + np.trace(second)
        - 2 * roots.sum()
    )
    return float(np.sqrt(max(0.0, squared)))
