"""Distances, likeness to references, and a person's own spread."""

from __future__ import annotations

import numpy as np
import pytest

from avatar_pipeline.faces.identity import centroid, compare, distances, own_interval

EMOTIONS = ("neutral", "happy", "sad", "scared", "smug")


def test_a_person_is_near_their_own_photographs_and_far_from_anothers(look, analyzer):
    mine, yours = (
        [look(person, emotion)[1][0].embedding for emotion in EMOTIONS]
        for person in ("P003", "P007")
    )
    face = look("P003", "studio_portrait")[1][0].embedding
    own, other = compare(analyzer, face, mine), compare(analyzer, face, yours)
    assert own.nearest <= own.median < analyzer.same_person < other.median
    assert own.centroid < other.centroid
    assert distances(analyzer, face, mine)[own.nearest_index] == own.nearest


def test_a_copied_photograph_is_the_nearest_at_distance_zero(look, analyzer):
    references = [look("P003", emotion)[1][0].embedding for emotion in EMOTIONS]
    likeness = compare(analyzer, references[2], references)
    assert (likeness.nearest_index, likeness.nearest) == (2, 0.0)


def test_the_own_interval_holds_the_persons_pairs(look, analyzer):
    references = [look("P003", emotion)[1][0].embedding for emotion in EMOTIONS]
    spread = own_interval(analyzer, references)
    assert spread is not None
    assert spread.pairs == 10
    assert 0 < spread.low < spread.median < spread.high < analyzer.same_person


def test_two_photographs_are_no_spread(look, analyzer):
    assert (
        own_interval(analyzer, [look("P003", emotion)[1][0].embedding for emotion in EMOTIONS[:2]])
        is None
    )


def test_the_centroid_is_the_mean_and_needs_a_photograph():
    assert centroid([np.array([1, 0]), np.array([0, 1])]) == pytest.approx([0.5, 0.5])
    with pytest.raises(ValueError, match="at least one"):
        centroid([])
