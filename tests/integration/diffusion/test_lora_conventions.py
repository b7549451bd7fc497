"""LoRA files of every trainer's convention on every family: each layer changed by what the file
holds, or the file refused in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from avatar_pipeline.diffusion.session import PipelineSession
from tests.support import tiny_models as tiny
from tests.support.lora_table import FAMILIES, ROWS, Row, measure
from tests.support.training_sets import tiny_session

Sessions = Callable[[str], PipelineSession]


@pytest.fixture(scope="module")
def session_of(
    tiny_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sessions]:
    """A session on the tiny pipeline of a family, loaded once."""
    opened = []

    @cache
    def session(family: str) -> PipelineSession:
        if family == "sd2":
            folder = tiny.build("sd2", tmp_path_factory.mktemp("sd2") / "model")
        else:
            folder = tiny_folder(family)
        opened.append(tiny_session("sd" if family == "sd2" else family, folder))
        return opened[-1]

    yield session
    for one in opened:
        one.close()


SD2 = ("kohya", "LyCORIS LoCon (convolutions)", "LyCORIS LoHa")
CELLS = [
    pytest.param(family, row, id=f"{family}: {row.name}")
    for family in FAMILIES
    for row in ROWS
    # Stable Diffusion 2 has the names of 1.5, and linear layers for some convolutions
    if family in row.families and (family != "sd2" or row.name in SD2)
]


@pytest.mark.parametrize(("family", "row"), CELLS)
def test_every_layer_is_changed_by_what_the_file_holds(
    session_of: Sessions, family: str, row: Row
) -> None:
    session = session_of(family)
    taken = measure(session, row.build(session.pipeline))
    assert not taken.stray
    assert taken.worst < 1e-5
    assert taken.changed > 8
