"""Photographs compared with each other: which show another person, and which show the same moment
twice.

All limits of distances are shares of the analyzer's same-person distance, so that they mean the
same with another recogniser. The rates are measured by benchmarks/identity_thresholds.py and stand
in docs/photo-intake.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.identity import centroid, distances
from avatar_pipeline.pipeline.assets.photo_intake.analysis import Portrait

# A few photographs are needed to tell which one is the stranger; and some more to tell how far this
# person's own lie apart.
ENOUGH_FOR_STRANGERS, ENOUGH_FOR_OWN_SPREAD = 4, 6
# A photograph so many times as far from the mean of the others as the person's usually are is
# another person's. 1.8 finds 9 of 10 strangers and takes 1 in 100 grimaces for one; 3.5 robust
# standard deviations find 7 of 10.
STRANGER = 1.8
# of the same-person distance: photographs of one session lie so close that any other would stand
# out
NEVER_STRANGER = 0.6

# The same picture saved again: copies (JPEG of quality 75, shrunk to 0.4, brighter, tinted) differ
# in at most 18 of 256 bits of the hash and 0.114 of the face's pattern. Different tiles of one
# sheet share the wall, and with it the hash, but then differ by 0.17 in the face.
SAME_HASH, SAME_PATTERN = 18, 0.13
# The same picture cut or turned, or two frames of a burst: no two different pictures of openpeople
# are as close in both.
SAME_FACE, SAME_FACE_PATTERN = 1 / 6, 0.09
# Alike, and worth having both, but not one to train on and one to score with.
ALIKE_FACE, ALIKE_PATTERN = 1 / 3, 0.12


def strangers(portraits: Mapping[str, Portrait], analyzer: FaceAnalyzer) -> dict[str, str]:
    """Names of the photographs that probably show another person, with the reason; robust up to
    nearly half of them.
    """
    if len(portraits) < ENOUGH_FOR_STRANGERS:
        return {}
    names, embeddings = (
        list(portraits),
        [portrait.face.embedding for portrait in portraits.values()],
    )
    between = np.stack([distances(analyzer, one, embeddings) for one in embeddings])
    found: dict[str, str] = {}
    to_others = median_to_others(portraits, analyzer)
    for name, distance in to_others.items():
        if distance > analyzer.uncertain:
            found[name] = (
                f"probably another person: median distance {distance:.2f} to the others, at most "
                f"{analyzer.uncertain:.2f}"
            )
    if len(portraits) < ENOUGH_FOR_OWN_SPREAD:
        return found
    # The mean of the half that lies closest together: a stranger would pull the mean of all towards
    # itself.
    core = np.argsort(between[np.median(between, axis=1).argmin()], kind="stable")[
        : (len(names) + 1) // 2
    ]
    to_mean = distances(analyzer, centroid([embeddings[index] for index in core]), embeddings)
    limit = min(
        max(STRANGER * float(np.median(to_mean)), NEVER_STRANGER * analyzer.same_person),
        analyzer.uncertain,
    )
    for name, distance in zip(names, to_mean, strict=True):
        if distance > limit:
            found.setdefault(
                name,
                f"probably another person: distance {distance:.2f} to the mean of the others, at "
                f"most {limit:.2f} for this person",
            )
    return found


def median_to_others(portraits: Mapping[str, Portrait], analyzer: FaceAnalyzer) -> dict[str, float]:
    """Each photograph's median distance to all the others; empty for fewer than two."""
    if len(portraits) < 2:
        return {}
    return {
        name: float(
            np.median(
                distances(
                    analyzer,
                    one.face.embedding,
                    [o.face.embedding for o in portraits.values() if o is not one],
                )
            )
        )
        for name, one in portraits.items()
    }


def near_duplicates(
    portraits: Mapping[str, Portrait], analyzer: FaceAnalyzer
) -> dict[str, tuple[str, str]]:
    """By name of the photographs that another one shows as well or better: that one, which is kept
    itself, and why it is.
    """
    kept: list[str] = []
    twins: dict[str, str] = {}
    for name, portrait in portraits.items():
        twin = next((other for other in kept if _same(portrait, portraits[other], analyzer)), None)
        if twin is None:
            kept.append(name)
        elif _better(portrait, portraits[twin]):
            kept[kept.index(twin)] = name
            twins[twin] = name
        else:
            twins[name] = twin
    found: dict[str, tuple[str, str]] = {}
    for name, twin in twins.items():
        while twin in twins:  # of a burst, each may give way to the next: the last one is kept
            twin = twins[twin]
        found[name] = twin, _better(portraits[twin], portraits[name]) or "is kept"
    return found


def alike(portraits: Mapping[str, Portrait], analyzer: FaceAnalyzer) -> list[set[str]]:
    """The names in groups: what looks alike is in one group, directly or over a third. Most groups
    hold one photograph.
    """
    groups: list[set[str]] = []
    for name, portrait in portraits.items():
        near = [
            group
            for group in groups
            if any(_is_alike(portrait, portraits[other], analyzer) for other in group)
        ]
        groups = [group for group in groups if group not in near] + [{name}.union(*near)]
    return groups


def pattern_difference(a: Portrait, b: Portrait) -> float:
    """Mean absolute difference of two aligned faces, in standard deviations of their grey
    levels.
    """
    return float(np.abs(a.pattern - b.pattern).mean())


def _same(a: Portrait, b: Portrait, analyzer: FaceAnalyzer) -> bool:
    pattern = pattern_difference(a, b)
    copied = int((a.hash != b.hash).sum()) <= SAME_HASH and pattern <= SAME_PATTERN
    return copied or (pattern <= SAME_FACE_PATTERN and _share(a, b, analyzer) <= SAME_FACE)


def _is_alike(a: Portrait, b: Portrait, analyzer: FaceAnalyzer) -> bool:
    return pattern_difference(a, b) <= ALIKE_PATTERN and _share(a, b, analyzer) <= ALIKE_FACE


def _share(a: Portrait, b: Portrait, analyzer: FaceAnalyzer) -> float:
    return analyzer.distance(a.face.embedding, b.face.embedding) / analyzer.same_person


def _better(one: Portrait, other: Portrait) -> str:
    """In what one of two equal pictures is better than the other; empty when it is not."""
    if one.inter_eye > 1.05 * other.inter_eye:
        return "shows the face larger"
    if other.inter_eye > 1.05 * one.inter_eye:
        return ""
    if one.rank[0] != other.rank[0]:
        return "has more around the face" if one.rank[0] < other.rank[0] else ""
    return "is the larger file" if one.size > other.size else ""
