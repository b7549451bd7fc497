"""Who a face is: distances to a person's reference photographs, and what distances that person's
own photographs have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avatar_pipeline.faces.analyzers.types import FaceAnalyzer

# Fewer photographs than this are no basis for a person's own limits: calibrated on 6, they refuse
# 5.4 % of the person's other pictures, on 8 and more 4.2 % and less
# (benchmarks/identity_thresholds.py).
ENOUGH_PHOTOGRAPHS = 8
RESAMPLES = 1000


@dataclass(frozen=True)
class Likeness:
    """How near a face is to reference photographs, in the analyzer's distance (0 is the same
    picture).

    median: over all references, what a verdict should rest on. nearest, nearest_index: the closest
    reference; a distance near 0 there means a copied photograph. centroid: distance to the mean
    embedding.
    """

    median: float
    nearest: float
    nearest_index: int
    centroid: float


@dataclass(frozen=True)
class Interval:
    """Distances between different photographs of one person: 5th percentile, median, 95th
    percentile, and how many pairs.
    """

    low: float
    median: float
    high: float
    pairs: int


@dataclass(frozen=True)
class Thresholds:
    """Which median distances to reference photographs count as this person.

    same_person: up to here without a doubt; up to `uncertain` a warning; beyond it, another person.
    Never looser than the analyzer's own.
    limit: the largest distance that is accepted. source: where the numbers come from, in words.
    photographs: how many there were.
    spread: distances between the person's own photographs; interval: the 95 % confidence interval
    of its 95th percentile. Both are None where the analyzer's operating point is used.
    """

    same_person: float
    uncertain: float
    limit: float
    source: str
    photographs: int
    spread: Interval | None = None
    interval: tuple[float, float] | None = None


def centroid(embeddings: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean embedding, (D,) float32, of one person's photographs. Raises ValueError when
    there is none.
    """
    if len(embeddings) == 0:
        raise ValueError("a mean embedding needs at least one embedding")
    return np.mean(np.stack(embeddings), axis=0).astype(np.float32)


def distances(
    analyzer: FaceAnalyzer, embedding: np.ndarray, references: Sequence[np.ndarray]
) -> np.ndarray:
    """Return (N,) float64 distances of one embedding to N references, in their order."""
    return np.array(
        [analyzer.distance(embedding, reference) for reference in references], dtype=np.float64
    )


def compare(
    analyzer: FaceAnalyzer, embedding: np.ndarray, references: Sequence[np.ndarray]
) -> Likeness:
    """Return the likeness of one face to reference photographs. Raises ValueError when there is
    none.
    """
    mean = centroid(references)
    found = distances(analyzer, embedding, references)
    nearest = int(found.argmin())
    return Likeness(
        float(np.median(found)), float(found[nearest]), nearest, analyzer.distance(embedding, mean)
    )


def own_interval(analyzer: FaceAnalyzer, embeddings: Sequence[np.ndarray]) -> Interval | None:
    """Return the person's own spread: the range in which another photograph of the same person is
    to be expected.

    None for fewer than three photographs: one pair is no spread.
    """
    if len(embeddings) < 3:
        return None
    pairs = [distances(analyzer, one, embeddings[i + 1 :]) for i, one in enumerate(embeddings[:-1])]
    low, median, high = np.percentile(np.concatenate(pairs), (5, 50, 95))
    return Interval(float(low), float(median), float(high), sum(len(row) for row in pairs))


def person_thresholds(
    analyzer: FaceAnalyzer,
    embeddings: Sequence[np.ndarray],
    seed: int,
    enough: int = ENOUGH_PHOTOGRAPHS,
) -> Thresholds:
    """Return the limits of one person, from the person's own photographs; the analyzer's with fewer
    than `enough`.

    same_person is the 95th percentile of the distances between the photographs. It is an estimate
    from few pictures: `uncertain` is the upper end of its 95 % confidence interval, by a bootstrap
    over photographs (not over pairs, which depend on each other).
    seed: of the resampling; the same seed gives the same interval.
    """
    spread = own_interval(analyzer, embeddings)
    count = len(embeddings)
    if spread is None or count < enough:
        few = (
            f"{count} photographs, and {enough} are the least for limits of one's own"
            if count
            else "no photographs"
        )
        return Thresholds(
            analyzer.same_person,
            analyzer.uncertain,
            analyzer.same_person,
            f"{analyzer.name}'s operating point: {few}",
            count,
        )
    between = np.stack([distances(analyzer, one, embeddings) for one in embeddings])
    low, high = _bootstrap(between, np.random.default_rng(seed))
    same, uncertain = min(spread.high, analyzer.same_person), min(high, analyzer.uncertain)
    source = (
        f"the person's own {count} photographs: 95 % of their pairs are within {spread.high:.2f} "
        f"({low:.2f}-{high:.2f})"
    )
    return Thresholds(same, uncertain, uncertain, source, count, spread, (low, high))


def _bootstrap(between: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % confidence interval of the 95th percentile of an (N, N) distance matrix's
    pairs.
    """
    count = len(between)
    first, second = np.triu_indices(count, 1)
    found: list[float] = []
    while len(found) < RESAMPLES:
        drawn = rng.integers(0, count, count)
        one, other = drawn[first], drawn[second]
        # a photograph drawn twice is no pair
        pairs = between[one[one != other], other[one != other]]
        if len(pairs):
            found.append(float(np.percentile(pairs, 95)))
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)
