"""Training for a handful of steps: an interruption changes no byte, and a checkpoint of another
training is not gone on from.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from avatar_pipeline.cartoons import dataset, train, training
from avatar_pipeline.cartoons.attributes import LATENTS, PIXELS
from avatar_pipeline.cartoons.generator import forward, read_weights
from avatar_pipeline.cartoons.samples import over_time
from avatar_pipeline.core.errors import ModelError

STEPS = 4  # of which the discriminator takes part in the later ones


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build folder with a data set of one batch."""
    build = tmp_path_factory.mktemp("build")
    dataset.build_dataset(build / train.DATASET, training.BATCH, training.SAMPLES)
    return build


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row, sheet and checkpoint after each step."""
    monkeypatch.setattr(training, "SAVE_EVERY_STEPS", 1)


def test_interrupted_training_ends_with_the_same_bytes(build: Path, tmp_path: Path) -> None:
    told: list[str] = []
    whole = train.train_generator(
        build, tmp_path / "whole", "small", STEPS, "cpu", told.append
    ).read_bytes()
    assert told[0] == "Starts from the beginning."
    rows = [
        json.loads(line) for line in (build / "small" / "history.jsonl").read_text().splitlines()
    ]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert "generator" not in rows[0] and rows[-1]["generator"] > 0  # the anchor alone, then both
    assert rows[-1]["difference"] < rows[0]["difference"]

    class Interrupted(Exception):
        pass

    def stop(line: str) -> None:
        told.append(line)
        if '"step": 3.0' in line:
            raise Interrupted

    (build / "small").rename(build / "small-whole")
    with pytest.raises(Interrupted):
        train.train_generator(build, tmp_path / "parts", "small", STEPS, "cpu", stop)
    assert not (tmp_path / "parts").exists()
    told.clear()
    parts = train.train_generator(build, tmp_path / "parts", "small", STEPS, "cpu", told.append)
    assert told[0] == f"Goes on from {build / 'small' / 'checkpoint.pt'}."
    assert ['"step"' in line for line in told].count(True) == 1  # one step was left
    assert parts.read_bytes() == whole
    assert over_time(sorted((build / "small" / "samples").glob("*.jpg"))).size == (
        12 * PIXELS["small"],
        5 * PIXELS["small"],
    )
    assert forward(read_weights(parts, "small"), np.zeros(LATENTS["small"], np.float32)).shape == (
        4,
        96,
        96,
    )


def test_a_checkpoint_of_another_training_is_set_aside(tmp_path: Path) -> None:
    folder, ours = tmp_path / "small", {"size": "small", "steps": 4, "dataset": "a"}
    assert train.prepare(folder, ours) == "Starts from the beginning."
    (folder / "checkpoint.pt").write_bytes(b"an hour")
    assert train.prepare(folder, ours).startswith("Goes on from ")
    told = train.prepare(folder, {**ours, "dataset": "b"})
    (aside,) = tmp_path.glob("small-*")
    assert (aside / "checkpoint.pt").read_bytes() == b"an hour"
    assert aside.name in told
    assert [path.name for path in folder.iterdir()] == ["training.json"]
    (folder / "history.jsonl").write_text("of a training that did not come to its first checkpoint")
    assert train.prepare(folder, ours) == "Starts from the beginning."
    assert [path.name for path in folder.iterdir()] == ["training.json"]


def test_what_is_not_a_trainings_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "holiday.jpg").write_bytes(b"somebody's")
    assert train.prepare(tmp_path / "small", {"size": "small"}) == "Starts from the beginning."
    assert (tmp_path / "small" / "holiday.jpg").read_bytes() == b"somebody's"


def test_bad_input_is_told(build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        SystemExit,
        match=r"error: .* has no data set of cartoons\. Make it first: "
        r"dagster asset materialize",
    ):
        train.main(["--build", str(tmp_path), "--only", "small"])
    for options, message in (
        (["--steps", "0"], "error: 0 training steps: give 1 or more."),
        (["--device", "abacus"], "error: device 'abacus' is not known."),
    ):
        with pytest.raises(SystemExit, match=message):
            train.main(["--build", str(build), "--only", "large", *options])
    with pytest.raises(SystemExit, match=r"error: a data set of 0 cartoons"):
        train.main(["--build", str(tmp_path), "--only", "dataset", "--pictures", "0"])
    few = dataset.load(build / train.DATASET / dataset.HELD_OUT, "small")
    with pytest.raises(ModelError, match="24 cartoons to train on: give at least 32"):
        training.train(few, few, "small", tmp_path / "few", 1)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "checkpoint.pt").write_bytes(b"PK")
    with pytest.raises(
        ModelError,
        match=r"checkpoint\.pt is cut off, or no checkpoint of this training\. Remove "
        r"it to start again\.",
    ):
        training.train(
            dataset.load(build / train.DATASET, "small"), few, "small", tmp_path / "cut", 1
        )
