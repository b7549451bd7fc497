"""A training that was killed goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import random
import re
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from upath import UPath

from avatar_pipeline.actors.checkpoints import CheckpointFile
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.diffusion.training.checkpoint import pack, unpack
from avatar_pipeline.diffusion.training.loop import train_lora
from avatar_pipeline.diffusion.training.optimizer import (
    make_optimizer,
    pack_optimizer,
    unpack_optimizer,
)
from avatar_pipeline.diffusion.training.types import Evaluation, Step, TrainingJob
from tests.support.training_sets import settings, square_set, train
from tests.support.warm import WarmProcess


def start(family: str, model: Path, checkpoint: Path, out: Path, steps: int) -> WarmProcess:
    """The training in a process of its own."""
    out.mkdir(exist_ok=True)
    paths = map(str, (model, checkpoint, out))
    return WarmProcess(["-m", "tests.support.killed_training", family, *paths, str(steps)])


def lines(process: WarmProcess) -> list[str]:
    return [line.strip() for line in process.stdout]


# What is under way when a kill comes; "save" is just when a checkpoint is being written.
@pytest.mark.parametrize(
    ("family", "steps", "phases"),
    [
        ("sd", 24, ("step", "evaluate", "step", "save", "save")),
        ("flux2", 12, ("evaluate", "save")),
        ("z_image", 12, ("evaluate", "save")),
        ("qwen_image", 12, ("evaluate", "save")),
    ],
)
def test_kills_change_nothing(
    tiny_folder: Callable[[str], Path],
    tmp_path: Path,
    family: str,
    steps: int,
    phases: tuple[str, ...],
) -> None:
    model = tiny_folder(family)
    (tmp_path / "whole").mkdir()
    whole = start(family, model, tmp_path / "a.safetensors", tmp_path / "whole", steps)
    said = lines(whole)
    assert whole.wait() == 0
    assert said[-1] == "done 0"

    pick = random.Random(5)
    checkpoint = tmp_path / "b.safetensors"
    met = []
    for phase in phases:
        process = start(family, model, checkpoint, tmp_path / "killed", steps)
        wanted = pick.randint(1, 2)
        for line in process.stdout:
            wanted -= line.startswith(phase)
            if not wanted:
                # a save takes that long, a step ten times as long
                time.sleep(pick.random() * 0.004)
                process.kill()
                break
        assert process.wait() == -signal.SIGKILL
        process.end()
        met.append(unpacked_step(checkpoint))
    last = start(family, model, checkpoint, tmp_path / "killed", steps)
    said = lines(last)
    assert last.wait() == 0
    assert met == sorted(met)
    assert met[-1] > 0
    assert said[-1] == f"done {met[-1]}"
    for name in ("weights", "rest"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def unpacked_step(path: Path) -> int:
    """The step of the checkpoint in a file, 0 when there is none; it must be whole."""
    if not path.is_file():
        return 0
    found = unpack(None, path.read_bytes())
    assert found is not None
    return int(found[1]["step"])


class Interrupted(Exception):
    """Stands for whatever ends a process."""


def interrupted(
    session: PipelineSession, checkpoints: CheckpointFile, at: int, **changes: object
) -> None:
    """Train up to step `at`."""

    def on_step(step: Step) -> None:
        if step.step == at:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(
            session,
            settings(session, **changes),
            on_step=on_step,
            checkpoints=checkpoints,
            checkpoint_seconds=0.0,
        )


@pytest.mark.parametrize("optimizer", ["adamw", "prodigy"])
def test_every_family_goes_on_with_the_same_result(
    each_session: PipelineSession, tmp_path: Path, optimizer: str
) -> None:
    if optimizer == "prodigy":
        pytest.importorskip("prodigyopt")
    checkpoints = CheckpointFile(UPath(tmp_path / "x" / "y.safetensors"))
    asked = settings(each_session, max_train_steps=6, ema=0.9, optimizer=optimizer, use_dora=True)
    whole = train(each_session, asked)
    interrupted(
        each_session, checkpoints, 5, max_train_steps=6, ema=0.9, optimizer=optimizer, use_dora=True
    )
    resumed = train(each_session, asked, checkpoints=checkpoints)
    assert resumed.resumed_at == 4
    assert replace(resumed, resumed_at=0) == whole
    # finished, not yet stored: nothing is trained again
    again = train(each_session, asked, checkpoints=checkpoints)
    assert again.resumed_at == 6
    assert again.weights == whole.weights
    checkpoints.clear()
    assert checkpoints.load() is None
    assert list((tmp_path / "x").iterdir()) == []


def test_a_checkpoint_of_something_else_is_not_used(
    sd_session: PipelineSession, tmp_path: Path
) -> None:
    checkpoints = CheckpointFile(UPath(tmp_path / "lora.safetensors"))
    asked, other = settings(sd_session), square_set(sd_session, seed=4)
    interrupted(sd_session, checkpoints, 3)
    left = checkpoints.load()
    assert left is not None
    for more in (
        {"evaluation_fingerprint": "another actor"},
        {"dataset": other},
        {"asked": asked.model_copy(update={"learning_rate": 2e-2})},
    ):
        checkpoints.save(left)
        given = {"asked": asked, **more}
        assert train(sd_session, checkpoints=checkpoints, **given).resumed_at == 0  # type: ignore[arg-type]
    flipped = left[:-1] + bytes([left[-1] ^ 1])  # one bit of one number
    for damaged in (b"", left[:-1], b"\x80\x04pickle", pack("key", {}, {}), flipped):
        checkpoints.save(damaged)
        assert train(sd_session, asked, checkpoints=checkpoints).resumed_at == 0
    checkpoints.save(left)
    assert train(sd_session, asked, checkpoints=checkpoints).resumed_at == 2


def test_an_optimizers_state_comes_back_whole() -> None:
    parameters = [torch.randn(3, 2, requires_grad=True), torch.randn(2, requires_grad=True)]
    first = make_optimizer("adamw", parameters, 0.1)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    first.step()
    second = make_optimizer("adamw", parameters, 0.5)
    unpack_optimizer(second, *pack_optimizer(first))
    old, new = first.state_dict(), second.state_dict()
    assert old["param_groups"] == new["param_groups"]
    assert all(
        torch.equal(old["state"][i][name], new["state"][i][name])
        for i in (0, 1)
        for name in old["state"][i]
    )


def test_a_full_disk_is_one_clear_error_and_loses_nothing(
    sd_session: PipelineSession, tmp_path: Path
) -> None:
    checkpoints = CheckpointFile(UPath(tmp_path / "lora.safetensors"))
    interrupted(sd_session, checkpoints, 3)
    before = checkpoints.load()
    assert before is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # writing past it fails, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(StoreError, match=r"lora\.safetensors cannot be written: .*Free space"):
            train(sd_session, settings(sd_session), checkpoints=checkpoints)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoints.load() == before
    assert [path.name for path in tmp_path.iterdir()] == ["lora.safetensors"]
    assert (
        train(sd_session, settings(sd_session), checkpoints=checkpoints).weights
        == train(sd_session, settings(sd_session)).weights
    )


def test_pictures_and_scores_of_evaluations_survive(
    sd_session: PipelineSession, tmp_path: Path
) -> None:
    import numpy as np

    checkpoints = CheckpointFile(UPath(tmp_path / "lora.safetensors"))
    shown = {step: np.full((2, 3, 3), step, dtype=np.uint8) for step in (2, 4)}

    def evaluate(step: int) -> Evaluation:
        return Evaluation(
            float("inf") if step == 2 else 0.1, {"distance": 0.1 * step}, [shown[step]]
        )

    def stop(step: Step) -> None:
        if step.step == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(sd_session, settings(sd_session), None, evaluate, stop, checkpoints=checkpoints)
    trained = train(sd_session, settings(sd_session), None, evaluate, checkpoints=checkpoints)
    assert trained.resumed_at == 2
    assert [found.score for found in trained.evaluations.values()] == [float("inf"), 0.1]
    assert all(
        np.array_equal(found.pictures[0], shown[step])
        for step, found in trained.evaluations.items()
    )
    assert trained.evaluations[2].facts == {"distance": 0.2}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"batch_size": 1}, "batch_size was 2 and is 1"),
        ({"pictures": 5}, r"1 training picture is new .*4 were there, 5 are"),
        ({"pictures": 3}, r"1 training picture is gone .*4 were there, 3 are"),
        ({"facts": {"the description": "a tall man"}}, "the description was .* and is a tall man"),
    ],
)
def test_a_training_that_starts_over_says_why(
    sd_session: PipelineSession,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    more: dict[str, Any],
    why: str,
) -> None:
    checkpoints = CheckpointFile(UPath(tmp_path / "lora.safetensors"))
    interrupted(sd_session, checkpoints, 3)
    job = TrainingJob(
        sd_session,
        square_set(sd_session, more.pop("pictures", 4)),
        settings(sd_session, batch_size=more.pop("batch_size", 2)),
        1,
        **more,
    )
    with caplog.at_level("INFO", logger="avatar_pipeline"):
        trained = train_lora(
            job,
            lambda step: None,
            lambda step: Evaluation(-step),
            checkpoints=checkpoints,
            evaluation_fingerprint="another" if more else "",
        )
    assert trained.resumed_at == 0
    (line,) = [each for each in caplog.messages if "starts over" in each]
    assert line.startswith("the training starts over: the checkpoint of step 2 is not used, as ")
    assert re.search(why, line), line
