"""Faces in the models that read reference photographs, with PuLID's weight and start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion import callbacks
from avatar_pipeline.diffusion.callbacks import Step
from avatar_pipeline.diffusion.identity import Identity
from avatar_pipeline.diffusion.sampling import (
    Sampling,
    image_to_image,
    text_to_image,
    text_to_images,
)
from avatar_pipeline.diffusion.session import PipelineSession, identity_fault
from tests.support.tiny_sessions import SIZE, tiny_session

STEPS = 4


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PipelineSession]:
    made = tiny_session("flux2-klein", tmp_path_factory.mktemp("klein"))
    yield made
    made.close()


def photograph(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 255, (size[1], size[0], 3), np.uint8))


def somebody(*seeds: int, weight: float = 1.0, start: int = 0) -> Identity:
    """References of several sizes, which need not be multiples of anything."""
    pictures = tuple(photograph(seed, (64 + 10 * seed, 70)) for seed in seeds)
    return Identity(np.zeros(1, np.float32), weight, start, references=pictures)


def draw(session: PipelineSession, identity: Identity | None, seed: int = 5) -> np.ndarray:
    sampling = Sampling(STEPS, 1.0, identity=identity)
    return np.asarray(text_to_image(session, "a man", seed, SIZE, sampling))


def test_references_steer_and_leave_no_trace(session: PipelineSession) -> None:
    plain = draw(session, None)
    pictures = [draw(session, somebody(*seeds)) for seeds in ((1,), (2,), (1, 2), (2, 1))]
    assert len({picture.tobytes() for picture in (plain, *pictures)}) == 5
    assert np.array_equal(draw(session, somebody(1)), pictures[0])
    assert np.array_equal(draw(session, somebody(1, weight=0.0)), plain)
    # on or off: a weight has no other effect
    assert np.array_equal(draw(session, somebody(1, weight=0.3)), pictures[0])
    assert np.array_equal(draw(session, None), plain)
    assert not session.denoiser._forward_pre_hooks


def test_a_face_is_the_reference_where_there_is_no_other(session: PipelineSession) -> None:
    face = Identity(np.zeros(1, np.float32), face=photograph(1))
    same = Identity(np.zeros(1, np.float32), references=(photograph(1),))
    assert np.array_equal(draw(session, face), draw(session, same))
    with pytest.raises(GenerationError, match="reads photographs of the face, and there is none"):
        draw(session, Identity(np.zeros(1, np.float32)))
    assert identity_fault(session, "dlib") is identity_fault(session, "insightface") is None


def test_no_more_than_four_are_read(session: PipelineSession) -> None:
    assert np.array_equal(
        draw(session, somebody(1, 2, 3, 4, 5)), draw(session, somebody(1, 2, 3, 4))
    )


def test_a_redrawn_picture_takes_references_too(session: PipelineSession) -> None:
    def redraw(identity: Identity | None) -> np.ndarray:
        sampling = Sampling(STEPS, 1.0, identity=identity)
        grey = Image.new("RGB", SIZE, "gray")
        return np.asarray(image_to_image(session, grey, "a man", 3, 0.75, sampling))

    assert not np.array_equal(redraw(somebody(1)), redraw(None))
    assert np.array_equal(redraw(somebody(1, weight=0.0)), redraw(None))


@pytest.mark.parametrize("start", [1, 3])
def test_before_its_step_a_reference_changes_nothing(
    session: PipelineSession, start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latents before it are bit for bit those without."""
    kept: list[torch.Tensor] = []
    call = callbacks.StepCallback.__call__

    def record(self, pipeline, index, timestep, tensors):
        kept.append(tensors["latents"].clone())
        return call(self, pipeline, index, timestep, tensors)

    monkeypatch.setattr(callbacks.StepCallback, "__call__", record)

    def steps(identity: Identity | None) -> list[torch.Tensor]:
        kept.clear()
        draw(replace(session, on_step=lambda step: None), identity)
        return list(kept)

    without, late = steps(None), steps(somebody(1, start=start))
    for step in range(STEPS):
        assert torch.equal(without[step], late[step]) == (step < start), step
    assert not np.array_equal(draw(session, somebody(1, start=start)), draw(session, somebody(1)))


def test_a_batch_shares_its_references(session: PipelineSession) -> None:
    identity = somebody(1, 2)
    sampling = Sampling(STEPS, 1.0, identity=identity)
    together = text_to_images(session, ["a man", "a woman"], [5, 6], SIZE, sampling)
    alone = draw(session, identity).astype(int)
    assert np.percentile(np.abs(np.asarray(together[0]).astype(int) - alone), 95) <= 2


def test_a_stopped_drawing_leaves_nothing_behind(session: PipelineSession) -> None:
    plain = draw(session, None)

    def watch(step: Step) -> None:
        if step.number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw(replace(session, on_step=watch), somebody(1))
    assert not session.denoiser._forward_pre_hooks
    assert np.array_equal(draw(session, None), plain)
