"""How many pictures are drawn at once.

A picture's pixels depend on its own prompt, seed and settings only, bit for bit, and not on how
many are drawn beside it. Kernels guarantee this of a row's place and neighbours at one batch size;
at another one they may add up in another order. Measured (`python -m benchmarks.batch_bits`): on a
CPU the embedded model's rows are the same in every even number of them in bfloat16, and in two or
four in float32, at the preset's own sizes; pictures of other sizes are drawn by themselves.
Elsewhere each batch of a drawing of several pictures is filled up to one size.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.memory import more_pictures
from avatar_pipeline.diffusion.session import PipelineSession

VARIABLE = "AVATAR_BATCH_SIZE"
LARGEST = 8  # pictures: beyond, a CPU's caches and a GPU's cores are full


@dataclass(frozen=True)
class Batches:
    """size: pictures at once, at most. filled: whether each batch is filled up to it; else to an
    even number of rows, where a picture is one row, or two with guidance.
    """

    size: int
    filled: bool

    def rows_beside(self, pictures: int, guided: bool) -> int:
        """Return how many pictures are drawn beside a batch of `pictures` to fill it up."""
        if self.filled:
            return self.size - pictures
        return 0 if guided else pictures % 2


def batches(session: PipelineSession, pictures: int, size: tuple[int, int]) -> Batches:
    """Return how `pictures` of `size`, width and height in pixels, are drawn. The environment
    variable AVATAR_BATCH_SIZE limits how many at once; ModelError when it is no number from 1 on.
    """
    limit = _limit()
    device = session.device
    if device.kind == "cpu":
        if session.preset.name != "embedded":  # larger models fill a CPU with one picture
            return Batches(1, filled=True)
        largest = LARGEST if device.autocast else 2
        measured = size in session.preset.sizes.values()
        return Batches(min(limit, largest if measured else 1), filled=False)
    if pictures == 1:
        return Batches(1, filled=True)
    room = more_pictures(session.preset, session.plan, size[0] * size[1]) if session.plan else 0
    return Batches(min(limit, LARGEST, 1 + room), filled=True)


def same_alone(session: PipelineSession, size: tuple[int, int]) -> bool:
    """Return whether a picture drawn by itself has the bits that it has in a batch."""
    return not batches(session, 2, size).filled


def _limit() -> int:
    given = os.environ.get(VARIABLE, "") or str(LARGEST)
    if not given.isdecimal() or int(given) < 1:
        raise ModelError(f"{VARIABLE}: {given!r} is no number of pictures. Give 1 or more.")
    return int(given)
