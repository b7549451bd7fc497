"""The statistics that rows rest on; numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return the area under the ROC curve, 0-1: the chance that a positive value exceeds a negative
    one, ties counting half.

    By the rank sum (Mann and Whitney 1947). 0 when either side is empty: nothing was shown to be
    separated.
    """
    from scipy.stats import rankdata

    if not len(positive) or not len(negative):
        return 0.0
    ranks = rankdata(np.concatenate([positive, negative]))
    count = len(positive)
    return float((ranks[:count].sum() - count * (count + 1) / 2) / (count * len(negative)))


def share(hits: Sequence[bool]) -> float:
    """Return the share of true values, 0-1; 0 of nothing."""
    return float(sum(hits) / len(hits)) if len(hits) else 0.0


def pairwise(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (N, M) Euclidean distances of (N, D) to (M, D) rows."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(a, b))


def nearest_label(points: np.ndarray, references: np.ndarray, labels: Sequence[str]) -> list[str]:
    """Return the label of the nearest reference of each point; points (N, D), references (M, D)
    with M labels.
    """
    return [labels[index] for index in pairwise(points, references).argmin(axis=1)]


def leave_one_out(references: np.ndarray, labels: Sequence[str], groups: Sequence[str]) -> float:
    """Return the share of references that `nearest_label` names right when nothing of their own
    group (say, their person) may be consulted.
    """
    distances = pairwise(references, references)
    distances[np.equal.outer(np.array(groups), np.array(groups))] = np.inf
    return share(
        [labels[row.argmin()] == label for row, label in zip(distances, labels, strict=True)]
    )


def nearest_of_same(points: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """Return (N,) distance of each point to the nearest other point of its own group; infinite
    where it has none.
    """
    distances = pairwise(points, points)
    np.fill_diagonal(distances, np.inf)
    distances[~np.equal.outer(np.array(groups), np.array(groups))] = np.inf
    return np.asarray(distances.min(axis=1))


def psnr(picture: np.ndarray, other: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB of two uint8 pictures of one shape; infinite for
    equal ones.
    """
    error = float(np.square(picture.astype(np.float64) - other.astype(np.float64)).mean())
    return float(10 * np.log10(255**2 / error)) if error else float("inf")
