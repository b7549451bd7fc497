"""Who a face is: distances to a person's reference photographs, and what distances that person's own photographs have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avatar_pipeline.faces.analyzer import FaceAnalyzer


@dataclass(frozen=True)
class Likeness:
    """How near a face is to reference photographs, in the analyzer's distance (0 is the same picture).

    median: over all references, what a verdict should rest on. nearest, nearest_index: the closest reference; a distance near 0
    there means a copied photograph. centroid: distance to the mean embedding.
    """

    median: float
    nearest: float
    nearest_index: int
    centroid: float


@dataclass(frozen=True)
class Interval:
    """Distances between different photographs of one person: 5th percentile, median, 95th percentile, and how many pairs."""

    low: float
    median: float
    high: float
    pairs: int


def centroid(embeddings: Sequence[np.ndarray]) -> np.ndarray:
    """Mean embedding, (D,) float32, of one person's photographs. Raises ValueError when there is none."""
    if len(embeddings) == 0:
        raise ValueError("a mean embedding needs at least one embedding")
    return np.mean(np.stack(embeddings), axis=0).astype(np.float32)


def distances(analyzer: FaceAnalyzer, embedding: np.ndarray, references: Sequence[np.ndarray]) -> np.ndarray:
    """(N,) float64 distances of one embedding to N references, in their order."""
    return np.array([analyzer.distance(embedding, reference) for reference in references], dtype=np.float64)


def compare(analyzer: FaceAnalyzer, embedding: np.ndarray, references: Sequence[np.ndarray]) -> Likeness:
    """Likeness of one face to reference photographs. Raises ValueError when there is none."""
    mean = centroid(references)
    found = distances(analyzer, embedding, references)
    nearest = int(found.argmin())
    return Likeness(float(np.median(found)), float(found[nearest]), nearest, analyzer.distance(embedding, mean))


def own_interval(analyzer: FaceAnalyzer, embeddings: Sequence[np.ndarray]) -> Interval | None:
    """The person's own spread: the range in which another photograph of the same person is to be expected.

    None for fewer than three photographs: one pair is no spread.
    """
    if len(embeddings) < 3:
        return None
    pairs = [distances(analyzer, one, embeddings[i + 1 :]) for i, one in enumerate(embeddings[:-1])]
    low, median, high = np.percentile(np.concatenate(pairs), (5, 50, 95))
    return Interval(float(low), float(median), float(high), sum(len(row) for row in pairs))
