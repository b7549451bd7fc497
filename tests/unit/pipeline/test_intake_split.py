"""The hold-out split: reproducible, spread over views, never through photographs that look
alike.
"""

from __future__ import annotations

import random

import pytest

from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.pipeline.hold_out import Split, held_out_count, hold_out, splits_a_group

NAMES = [f"{number:02d}.jpg" for number in range(15)]
FRONT = dict.fromkeys(NAMES, "front")
ALONE = [{name} for name in NAMES]
SEEDS = range(20)


@pytest.mark.parametrize(
    ("photographs", "held_out"), [(4, 0), (5, 2), (10, 2), (15, 3), (20, 4), (100, 4)]
)
def test_a_fifth_is_held_out(photographs: int, held_out: int) -> None:
    names = [str(number) for number in range(photographs)]
    assert (
        len(hold_out(names, dict.fromkeys(names, "front"), [{name} for name in names], 1))
        == held_out
    )


def test_photographs_of_one_kind_are_split_by_the_seed_alone() -> None:
    """As before there was an intake: an actor whose photographs are alike in kind keeps its
    split.
    """
    for seed in SEEDS:
        drawn = random.Random(derive_seed(seed, "held_out")).sample(
            NAMES, held_out_count(len(NAMES))
        )
        assert hold_out(NAMES, FRONT, ALONE, seed) == set(drawn)


def test_alike_photographs_stay_on_one_side() -> None:
    pairs = [set(NAMES[index : index + 2]) for index in range(0, 14, 2)] + [{NAMES[14]}]
    assert any(splits_a_group(hold_out(NAMES, FRONT, ALONE, seed), pairs) for seed in SEEDS), (
        "nothing to keep together"
    )
    assert not any(splits_a_group(hold_out(NAMES, FRONT, pairs, seed), pairs) for seed in SEEDS)


def test_large_groups_are_held_out_whole() -> None:
    sessions = [set(NAMES[:5]), set(NAMES[5:10]), set(NAMES[10:])]
    for seed in SEEDS:
        assert hold_out(NAMES, FRONT, sessions, seed) in sessions


def test_each_view_is_scored_and_none_is_lost() -> None:
    views = {
        **FRONT,
        **dict.fromkeys(NAMES[:4], "three-quarter left"),
        NAMES[4]: "three-quarter right",
    }
    for seed in SEEDS:
        held_out = {views[name] for name in hold_out(NAMES, views, ALONE, seed)}
        assert held_out == {"front", "three-quarter left"}


def test_a_view_of_three_photographs_is_scored_and_one_of_two_need_not_be() -> None:
    for count, always in ((3, True), (2, False)):
        views = {**FRONT, **dict.fromkeys(NAMES[:count], "three-quarter left")}
        scored = [
            any(views[name] != "front" for name in hold_out(NAMES, views, ALONE, seed))
            for seed in SEEDS
        ]
        assert all(scored) is always, count


def test_of_two_frontal_photographs_one_is_scored_and_a_single_one_is_trained_on() -> None:
    for count, held in ((2, 1), (1, 0)):
        views = {
            **dict.fromkeys(NAMES, "three-quarter left"),
            **dict.fromkeys(NAMES[:count], "front"),
        }
        for seed in SEEDS:
            assert (
                sum(views[name] == "front" for name in hold_out(NAMES, views, ALONE, seed)) == held
            )


def test_no_more_groups_are_held_out_than_make_two_photographs_and_the_seed_chooses_them() -> None:
    pairs = [set(NAMES[:2]), set(NAMES[2:4])]
    chosen = [hold_out(NAMES, FRONT, [*pairs, set(NAMES[4:])], seed) for seed in SEEDS]
    assert all(names in pairs for names in chosen)
    assert all(pair in chosen for pair in pairs)


def earlier(held_out: set[str], names: list[str] = NAMES) -> Split:
    return Split(frozenset(held_out), frozenset(set(names) - held_out))


def test_the_same_photographs_keep_their_split() -> None:
    pairs = [set(NAMES[index : index + 2]) for index in range(0, 14, 2)] + [{NAMES[14]}]
    sessions = [set(NAMES[:5]), set(NAMES[5:10]), set(NAMES[10:])]
    for groups in (ALONE, pairs, sessions, [set(NAMES)]):
        for seed in SEEDS:
            first = hold_out(NAMES, FRONT, groups, seed)
            assert hold_out(NAMES, FRONT, groups, seed, earlier(first)) == first


def test_one_photograph_more_or_less_moves_no_other_across() -> None:
    for seed in SEEDS:
        for count in (6, 10, 15):
            names = NAMES[:count]
            first = hold_out(names, FRONT, ALONE, seed)
            more = [*names, "new.jpg"]
            second = hold_out(
                more,
                {**FRONT, "new.jpg": "front"},
                [{n} for n in more],
                seed,
                earlier(first, names),
            )
            assert second - {"new.jpg"} == first
            for gone in names:
                left = [name for name in names if name != gone]
                kept = hold_out(left, FRONT, ALONE, seed, earlier(first, names))
                assert first - {gone} <= kept
                assert len(kept) >= 2 and len(kept - first) <= 1


def test_the_first_photograph_of_a_view_is_trained_on() -> None:
    names, views = [*NAMES, "left.jpg"], {**FRONT, "left.jpg": "three-quarter left"}
    for seed in SEEDS:
        first = hold_out(NAMES, FRONT, ALONE, seed)
        assert hold_out(names, views, [{n} for n in names], seed, earlier(first)) == first


def test_a_new_twin_of_a_held_out_photograph_joins_it() -> None:
    names, views = [*NAMES, "new.jpg"], {**FRONT, "new.jpg": "front"}
    for seed in SEEDS:
        first = hold_out(NAMES, FRONT, ALONE, seed)
        pair = {min(first), "new.jpg"}
        groups = [pair, *({name} for name in NAMES if name not in pair)]
        assert hold_out(names, views, groups, seed, earlier(first)) == first | {"new.jpg"}


def test_three_are_left_to_train_on() -> None:
    for seed in SEEDS:
        first = set(NAMES[:4])
        left = NAMES[:5]
        assert len(hold_out(left, FRONT, ALONE[:5], seed, earlier(first)) & first) == 2
