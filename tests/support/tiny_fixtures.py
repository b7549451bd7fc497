"""The tiny pipelines, built once for all tests here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from avatar_pipeline.diffusion.session import PipelineSession
from tests.support import tiny_models as tiny
from tests.support.training_sets import tiny_session

# preset of each family whose weights are large
PRESET_OF = {
    "sd": "sd15",
    "sdxl": "sdxl",
    "flux": "flux-dev",
    "flux2": "flux2-klein",
    "z_image": "z-image",
    "qwen_image": "qwen-image",
}


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny pipelines by preset, such as can be trained. Not to be changed."""
    root = tmp_path_factory.mktemp("tiny")
    changes = {"flux2": {"distilled": False}}
    return {
        preset: tiny.build(family, root / family, **changes.get(family, {}))
        for family, preset in PRESET_OF.items()
    }


@pytest.fixture(scope="session")
def tiny_folder(tiny_models: dict[str, Path]) -> Callable[[str], Path]:
    """The folder of a family's tiny pipeline."""
    return lambda family: tiny_models[PRESET_OF[family]]


@pytest.fixture(scope="module", params=list(PRESET_OF))
def each_session(
    request: pytest.FixtureRequest, tiny_folder: Callable[[str], Path]
) -> Iterator[PipelineSession]:
    """A session on the tiny pipeline of each family in turn."""
    session = tiny_session(request.param, tiny_folder(request.param))
    yield session
    session.close()


@pytest.fixture(scope="module")
def sd_session(tiny_folder: Callable[[str], Path]) -> Iterator[PipelineSession]:
    """A session on the tiny Stable Diffusion."""
    session = tiny_session("sd", tiny_folder("sd"))
    yield session
    session.close()
