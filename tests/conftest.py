"""Lanes, the order of the tests, and fixtures that several folders share."""

from __future__ import annotations

import gc
import math
import os
import tempfile
from pathlib import Path

import pytest

from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from tests.support.lanes import TESTS, lane_of, seconds_by_file
from tests.support.memory_folder import use_memory
from tests.support.once import made_once
from tests.support.real_chain import environment, make_real_chain
from tests.support.remembered_faces import remember_faces

# Tests draw with tiny models of random weights, which no licence protects, under the presets of
# large ones, which some do.
os.environ.setdefault("AVATAR_ACCEPT_LICENCES", "flux-dev")

FILES = use_memory()  # before anything asks where temporary files lie

# Neither the processes of one test run nor two test runs wait for each other's turn on the device.
# Children inherit the folder.
LOCKS = tempfile.TemporaryDirectory(prefix="avatar_pipeline-tests-")
os.environ["AVATAR_LOCKS"] = LOCKS.name

remember_faces()


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its lane, and put the files that cost most first, so that with several
    processes none is left alone with a long one.

    Tests marked `gpu` are skipped without a card, whatever is installed.
    """
    known = seconds_by_file()
    for item in items:
        item.add_marker(lane_of(item.path))

    def cost(item: pytest.Item) -> float:
        # what was never recorded is long where whole chains and servers are
        unknown = math.inf if lane_of(item.path) == "e2e" else 0.0
        return known.get(item.path.relative_to(TESTS.parent).as_posix(), unknown)

    items.sort(key=cost, reverse=True)
    needs_card = [item for item in items if item.get_closest_marker("gpu")]
    if needs_card and not has_card():
        for item in needs_card:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def has_card() -> bool:
    """Whether tests marked `gpu` can run here."""
    import torch

    return torch.cuda.is_available()


def pytest_collection_finish() -> None:
    """What the tests have imported stays: the garbage collector, which runs when a pipeline is
    closed, need not go through it each time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def analyzer() -> FaceAnalyzer:
    """The default face analyzer, loaded once (half a second)."""
    return get_analyzer("dlib")


@pytest.fixture(scope="session")
def chain_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the store, the exports and the Dagster home after `register` and `dagster
    asset materialize`: made once a test run, a copy in each process.
    """
    return made_once(tmp_path_factory, "chain", make_real_chain, copy=True)


@pytest.fixture
def chain(chain_world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, with the environment that names it."""
    for variable, folder in environment(chain_world).items():
        monkeypatch.setenv(variable, folder)
    return chain_world
