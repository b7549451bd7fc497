"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer

# Tests draw with tiny models of random weights, which no licence protects, under the presets of
# large ones, which some do.
os.environ.setdefault("AVATAR_ACCEPT_LICENCES", "flux-dev")

# Neither the processes of one test run nor two test runs wait for each other's turn on the device.
# Children inherit the folder.
LOCKS = tempfile.TemporaryDirectory(prefix="avatar_pipeline-tests-")
os.environ["AVATAR_LOCKS"] = LOCKS.name

# The actor of the chain is a person whom the base model knows, so that a few steps of LoRA are
# enough: it is about the chain, not about quality.
ACTOR = "small"
SPECIFICATION = """\
description: indian 40 year old male with long straight light brown hair and an angular jaw
likeness: synthetic
photos: openpeople:P008
framing: headshot
seed: 11
settings:
  training_variations: {variations: 2}
  lora: {max_train_steps: 24, evaluate_every: 12, validation_images: 2, final_renders: 2}
  validated_avatar: {candidates: 3}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test, minutes of LoRA training, comes first, so that with several processes none
    is left alone with it.

    Tests marked `gpu` are skipped without a card, whatever is installed.
    """
    items.sort(key=lambda item: item.path.name != "test_demo.py")
    needs_card = [item for item in items if item.get_closest_marker("gpu")]
    if needs_card and not has_card():
        for item in needs_card:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def has_card() -> bool:
    """Whether tests marked `gpu` can run here."""
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def analyzer() -> FaceAnalyzer:
    """The default face analyzer, loaded once (half a second)."""
    return get_analyzer("dlib")


MATERIALIZE = [
    "dagster",
    "asset",
    "materialize",
    "-m",
    "avatar_pipeline.definitions",
    "--select",
    "*",
    "--partition",
    ACTOR,
]


def command(name: str) -> str:
    """A console script of this Python's environment."""
    return str(Path(sys.executable).parent / name)


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder with the store, the exports and the Dagster home after `register` and `dagster
    asset materialize`.
    """
    world = tmp_path_factory.mktemp("chain")
    (world / "actors" / ACTOR).mkdir(parents=True)
    (world / "actors" / ACTOR / "actor.yaml").write_text(SPECIFICATION)
    variables = {"AVATAR_DATA": "actors", "AVATAR_EXPORTS": "exports", "DAGSTER_HOME": "home"}
    with pytest.MonkeyPatch.context() as patch:
        for variable, name in variables.items():
            patch.setenv(variable, str(world / name))
        for call in (
            [sys.executable, "-m", "avatar_pipeline", "register"],
            [command(MATERIALIZE[0]), *MATERIALIZE[1:]],
        ):
            done = subprocess.run(
                call,
                capture_output=True,
                text=True,
                timeout=900,
                check=False,
                cwd=PROJECT,
                env=dict(os.environ),
            )
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
        yield world
