"""Which photographs are held out: never trained on, nothing drawn from them, and what every score
is measured against.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from avatar_pipeline.core.seeds import derive_seed

# two of them are held out, and three are the least that shows a face and not one picture
FEWEST_PHOTOGRAPHS = 5
# Draws to choose from. The first good one counts, so that photographs which are all alike in kind
# are split by the seed alone.
DRAWS = 200
SPLIT_TWINS, EMPTIED_VIEW, NO_FRONT, UNSCORED_VIEW = 1000, 20, 10, 1


def held_out_count(photographs: int) -> int:
    """A fifth of the pictures, 2 to 4."""
    return min(4, max(2, round(photographs / 5)))


def hold_out(
    names: Sequence[str], views: Mapping[str, str], groups: Sequence[set[str]], root_seed: int
) -> set[str]:
    """Names of the photographs to hold out, reproducible from the root seed; none of fewer than
    FEWEST_PHOTOGRAPHS.

    views: by name. groups: photographs that look alike, of which none may be trained on when
    another one is scored with. Random draws, of which the first is taken that keeps groups
    together, scores what is trained on (a frontal view, and each turned view with three
    photographs), and leaves at least one photograph of each view to train on; the best one when
    none does all that.
    """
    if len(names) < FEWEST_PHOTOGRAPHS:
        return set()
    rng = random.Random(derive_seed(root_seed, "held_out"))
    draws = [set(rng.sample(list(names), held_out_count(len(names)))) for _ in range(DRAWS)]
    draws += _whole_groups(len(names), groups, rng)
    return min(draws, key=lambda draw: _cost(draw, names, views, groups))


def splits_a_group(draw: set[str], groups: Sequence[set[str]]) -> bool:
    """Whether photographs that look alike lie on both sides of a split."""
    return any(group & draw and group - draw for group in groups)


def _whole_groups(
    photographs: int, groups: Sequence[set[str]], rng: random.Random
) -> list[set[str]]:
    """For photographs that come in large groups: the smallest ones, as few as make two photographs
    and leave three.
    """
    order = list(groups)
    rng.shuffle(order)
    draw: set[str] = set()
    for group in sorted(order, key=len):
        if len(draw) >= 2:
            break
        draw |= group
    return [draw] if 2 <= len(draw) <= photographs - 3 else []


def _cost(
    draw: set[str], names: Sequence[str], views: Mapping[str, str], groups: Sequence[set[str]]
) -> int:
    total, held = Counter(views[name] for name in names), Counter(views[name] for name in draw)
    cost = SPLIT_TWINS * splits_a_group(draw, groups)
    cost += EMPTIED_VIEW * sum(held[view] == count for view, count in total.items())
    cost += NO_FRONT * bool(total["front"] > 1 and not held["front"])
    return cost + UNSCORED_VIEW * sum(
        count >= 3 and not held[view] for view, count in total.items() if view != "front"
    )
