"""Two processes on the CPU train as one does, and neither outlives the other."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.diffusion.training.types import Evaluation, Step, TrainingResult
from tests.support.training_sets import settings, square_set, tiny_session, train


@pytest.fixture(autouse=True)
def findable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))


def workers() -> list[psutil.Process]:
    # a child of an earlier test may have ended without being waited for: it has no command line
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE
        and "avatar_pipeline.diffusion.training.worker" in child.cmdline()
    ]


def distance(first: TrainingResult, second: TrainingResult) -> float:
    """How far apart two LoRAs are, as a share of what the first one has learned: its second
    matrices start at zero.
    """
    one, other = (
        {name: v for name, v in load(t.weights).items() if "lora_B" in name}
        for t in (first, second)
    )
    apart = sum(float((one[name] - other[name]).pow(2).sum()) for name in one)
    return (apart / sum(float(value.pow(2).sum()) for value in one.values())) ** 0.5


@pytest.mark.parametrize("family", ["sd", "flux", "z_image"])
def test_two_processes_train_as_one_does(tiny_folder: Callable[[str], Path], family: str) -> None:
    session = tiny_session(family, tiny_folder(family))
    dataset, prior = square_set(session), square_set(session, 2, seed=3)
    asked = {
        "batch_size": 4,
        "max_train_steps": 5,
        "evaluate_every": 2,
        "prior_loss_weight": 0.5,
        "ema": 0.9,
    }
    one = train(session, settings(session, **asked), dataset, prior=prior)
    other = train(
        session, settings(session, **asked), dataset, lambda step: Evaluation(1.0), prior=prior
    )
    seen: list[int] = []

    def evaluate(step: int) -> Evaluation:
        seen.append(len(workers()))
        return Evaluation(-step)

    two = train(session, settings(session, processes=2, **asked), dataset, evaluate, prior=prior)
    assert seen == [1, 1, 1]
    assert [step.loss for step in two.steps] == pytest.approx(
        [step.loss for step in one.steps], rel=1e-3
    )
    # rounding in bfloat16; a few steps more or less are a multiple of that:
    assert distance(one, two) < 0.1
    assert distance(one, other) > 0.3
    assert workers() == []
    assert not torch.distributed.is_initialized()
    session.close()


def test_a_dead_worker_ends_the_training_with_an_error(sd_session: PipelineSession) -> None:
    def kill(step: Step) -> None:
        if step.step == 2:
            workers()[0].send_signal(signal.SIGKILL)

    began = time.monotonic()
    with pytest.raises(
        GenerationError, match="training process 1 of 2 ended early, with exit code -9"
    ):
        train(
            sd_session,
            settings(sd_session, processes=2, max_train_steps=50, evaluate_every=50),
            on_step=kill,
        )
    assert time.monotonic() - began < 300  # it did not wait for the time limit of an hour
    assert workers() == []
    again = train(sd_session, settings(sd_session))
    assert len(again.steps) == 4


def test_several_processes_go_on_from_a_checkpoint_and_stop_together(
    sd_session: PipelineSession, tmp_path: Path
) -> None:
    from upath import UPath

    from avatar_pipeline.actors.checkpoints import CheckpointFile

    checkpoints = CheckpointFile(UPath(tmp_path / "lora.safetensors"))
    asked = settings(sd_session, processes=2, max_train_steps=8, evaluate_every=2, patience=1)
    scores = {2: 0.5, 4: 0.4, 6: 0.6}

    def stop(step: Step) -> None:
        if step.step == 3:
            raise KeyboardInterrupt

    def evaluate(step: int) -> Evaluation:
        return Evaluation(scores[step])

    whole = train(sd_session, asked, None, evaluate)
    with pytest.raises(KeyboardInterrupt):
        train(sd_session, asked, None, evaluate, stop, checkpoints=checkpoints)
    assert workers() == []
    resumed = train(sd_session, asked, None, evaluate, checkpoints=checkpoints)
    assert (resumed.resumed_at, len(resumed.steps), resumed.best_step) == (2, 6, 4)
    assert resumed.weights == whole.weights
    assert os.environ.get("WORLD_SIZE") is None
