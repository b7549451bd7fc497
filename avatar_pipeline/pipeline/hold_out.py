"""Which photographs are held out: never trained on, nothing drawn from them, and what every score
is measured against.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from avatar_pipeline.core.seeds import derive_seed

# two of them are held out, and three are the least that shows a face and not one picture
FEWEST_PHOTOGRAPHS = 5
# Draws to choose from. The first good one counts, so that photographs which are all alike in kind
# are split by the seed alone.
DRAWS = 200
SPLIT_TWINS, EMPTIED_VIEW, NO_FRONT, UNSCORED_VIEW = 1000, 20, 10, 1
# A photograph that changes sides costs more than all views together, and less than a twin in
# training.
MOVED = 100
TOO_FEW = 15  # for each photograph below a fifth, where an earlier split is kept


@dataclass(frozen=True)
class Split:
    """An earlier split of the same person's photographs, by the names that they have now."""

    held_out: frozenset[str]
    trained_on: frozenset[str]


def held_out_count(photographs: int) -> int:
    """A fifth of the pictures, 2 to 4."""
    return min(4, max(2, round(photographs / 5)))


def hold_out(
    names: Sequence[str],
    views: Mapping[str, str],
    groups: Sequence[set[str]],
    root_seed: int,
    earlier: Split | None = None,
) -> set[str]:
    """Names of the photographs to hold out, reproducible from the root seed; none of fewer than
    FEWEST_PHOTOGRAPHS.

    views: by name. groups: photographs that look alike, of which none may be trained on when
    another one is scored with. Random draws, of which the first is taken that keeps groups
    together, scores what is trained on (a frontal view, and each turned view with three
    photographs), and leaves at least one photograph of each view to train on; the best one when
    none does all that.

    earlier: the split before some photographs came, went or changed. Those that it knew stay on
    their sides; where more are to be held out, new ones are, or fewer than a fifth. Only
    photographs that look alike may still draw each other across.
    """
    if len(names) < FEWEST_PHOTOGRAPHS:
        return set()
    count, seed = held_out_count(len(names)), derive_seed(root_seed, "held_out")
    rng = random.Random(seed)
    draws = [set(rng.sample(list(names), count)) for _ in range(DRAWS)]
    draws += _whole_groups(len(names), groups, rng)
    if earlier is None:
        return min(draws, key=lambda draw: _cost(draw, names, views, groups))
    was_held_out = earlier.held_out & set(names)

    def cost(draw: set[str]) -> int:
        moved = len(draw & earlier.trained_on) + len(was_held_out - draw)
        few = max(0, count - len(draw))
        return MOVED * moved + TOO_FEW * few + _cost(draw, names, views, groups)

    return min(_kept(names, random.Random(seed), earlier) + draws, key=cost)


def splits_a_group(draw: set[str], groups: Sequence[set[str]]) -> bool:
    """Whether photographs that look alike lie on both sides of a split."""
    return any(group & draw and group - draw for group in groups)


def _kept(names: Sequence[str], rng: random.Random, earlier: Split) -> list[set[str]]:
    """Draws that keep what was held out, as far as three are left to train on: as it is, with new
    photographs, and with any.
    """
    held = [name for name in names if name in earlier.held_out][: max(len(names) - 3, 2)]
    others = [name for name in names if name not in earlier.held_out]
    new = [name for name in others if name not in earlier.trained_on]
    draws = [set(held)] if len(held) >= 2 else []
    draws += [{*held, name} for name in new]
    more = held_out_count(len(names)) - len(held)
    for pool in (new, others) if more > 0 else ():
        draws += [{*held, *rng.sample(pool, min(more, len(pool)))} for _ in range(DRAWS)]
    return [draw for draw in draws if len(draw) == 2 or 2 < len(draw) <= len(names) - 3]


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
