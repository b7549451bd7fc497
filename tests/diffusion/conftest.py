"""The tiny pipelines, built once for all tests here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from avatar_pipeline.diffusion.session import GpuSession
from tests.diffusion import tiny
from tests.diffusion.training_sets import tiny_session


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's tiny pipeline."""
    built: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in built:
            built[family] = tiny.build(family, tmp_path_factory.mktemp(family))
        return built[family]

    return folder


@pytest.fixture(scope="module", params=["sd", "sdxl", "flux"])
def each_session(request: pytest.FixtureRequest, tiny_folder: Callable[[str], Path]) -> Iterator[GpuSession]:
    """A session on the tiny pipeline of each family in turn."""
    session = tiny_session(request.param, tiny_folder(request.param))
    yield session
    session.close()


@pytest.fixture(scope="module")
def sd_session(tiny_folder: Callable[[str], Path]) -> Iterator[GpuSession]:
    """A session on the tiny Stable Diffusion."""
    session = tiny_session("sd", tiny_folder("sd"))
    yield session
    session.close()
