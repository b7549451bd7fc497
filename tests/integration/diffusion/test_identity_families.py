"""Faces in every family, with PuLID's weight and start, through adapters of random weights in the
published forms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from avatar_pipeline.core.errors import GenerationError, ModelError
from avatar_pipeline.diffusion.callbacks import Step
from avatar_pipeline.diffusion.identity import Identity
from avatar_pipeline.diffusion.identity_adapter import FACE_LORA
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.sampling import (
    Sampling,
    image_to_image,
    text_to_image,
    text_to_images,
)
from avatar_pipeline.diffusion.session import PipelineSession, identity_fault, open_session
from tests.support.ip_adapters import EMBEDDING, INSIGHTFACE, write_adapter, write_flux_adapter
from tests.support.tiny_sessions import SIZE, TINY, tiny_session

STEPS = 4


@pytest.fixture(
    scope="module",
    params=["embedded", *(name for name in TINY if get_preset(name).identity_adapter)],
)
def session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PipelineSession]:
    name = request.param
    if name == "embedded":
        made = open_session(get_preset(name))
    else:
        made = tiny_session(name, tmp_path_factory.mktemp(name))
        file = made.model / made.preset.identity_adapter
        if made.preset.family == "flux":
            write_flux_adapter(file, made.model / "transformer")
        else:  # with a LoRA, as the published FaceID files
            write_adapter(file, made.model / "unet", embedding=INSIGHTFACE, lora=True)
    yield made
    made.close()


def face(session: PipelineSession, seed: int, weight: float = 1.0, start: int = 0) -> Identity:
    random = np.random.default_rng(seed)
    length = EMBEDDING if session.preset.name == "embedded" else INSIGHTFACE
    picture = Image.fromarray(random.integers(0, 255, (64, 64, 3), np.uint8))
    return Identity(random.normal(0, 0.1, length).astype(np.float32), weight, start, picture)


def draw(
    session: PipelineSession, identity: Identity | None, guidance: float = 3.0, negative: str = ""
) -> np.ndarray:
    return np.asarray(
        text_to_image(
            session,
            "a man",
            5,
            SIZE,
            Sampling(STEPS, guidance, negative_prompt=negative, identity=identity),
        )
    )


def redraw(session: PipelineSession, identity: Identity | None) -> np.ndarray:
    return np.asarray(
        image_to_image(
            session,
            Image.new("RGB", SIZE, "gray"),
            "a man",
            3,
            0.75,
            Sampling(STEPS, 3.0, identity=identity),
        )
    )


def test_a_face_steers_and_leaves_no_trace(session: PipelineSession) -> None:
    plain, redrawn = draw(session, None), redraw(session, None)
    one = draw(session, face(session, 1))
    assert not np.array_equal(one, plain)
    assert np.array_equal(one, draw(session, face(session, 1)))
    assert not np.array_equal(one, draw(session, face(session, 2)))
    assert not np.array_equal(one, draw(session, face(session, 1, 0.5)))
    assert not np.array_equal(draw(session, face(session, 1), 1.0), draw(session, None, 1.0))
    assert not np.array_equal(
        draw(session, face(session, 1), negative="beard"), draw(session, None, negative="beard")
    )
    assert not np.array_equal(redraw(session, face(session, 1)), redrawn)
    assert np.array_equal(draw(session, face(session, 1, 0.0)), plain)
    assert np.array_equal(draw(session, None), plain)
    assert np.array_equal(redraw(session, None), redrawn)
    assert not getattr(session.denoiser, "peft_config", None)


@pytest.mark.parametrize("start", [1, 3])
def test_before_its_step_a_face_changes_nothing(
    session: PipelineSession, start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latents before it are bit for bit those without a face."""

    def steps(identity: Identity | None) -> list[torch.Tensor]:
        seen: list[torch.Tensor] = []

        def watch(step: Step) -> None:
            seen.append(expected[-1].clone())

        draw(replace(session, on_step=watch), identity)
        return seen

    from avatar_pipeline.diffusion import callbacks as watching

    expected: list[torch.Tensor] = []
    call = watching.StepCallback.__call__

    def record(self, pipeline, index, timestep, tensors):
        expected.append(tensors["latents"])
        return call(self, pipeline, index, timestep, tensors)

    monkeypatch.setattr(watching.StepCallback, "__call__", record)
    without, late = steps(None), steps(face(session, 1, 2.0, start))
    for step in range(STEPS):
        assert torch.equal(without[step], late[step]) == (step < start), step
    assert not np.array_equal(
        draw(session, face(session, 1, 2.0, start)), draw(session, face(session, 1, 2.0, 0))
    )


def test_a_batch_shares_one_face(session: PipelineSession) -> None:
    identity = face(session, 1)
    together = text_to_images(
        session, ["a man", "a woman"], [5, 6], SIZE, Sampling(STEPS, 3.0, identity=identity)
    )
    assert (
        np.percentile(np.abs(np.asarray(together[0]).astype(int) - draw(session, identity)), 95)
        <= 2
    )


@pytest.mark.parametrize("start", [0, 2])
def test_a_stopped_drawing_takes_the_face_out_again(session: PipelineSession, start: int) -> None:
    plain = draw(session, None)

    def watch(step: Step) -> None:
        if step.number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw(replace(session, on_step=watch), face(session, 1, 1.0, start))
    assert np.array_equal(draw(session, None), plain)
    assert not getattr(session.denoiser, "peft_config", None)


def test_a_faces_lora_stands_beside_the_actors(session: PipelineSession) -> None:
    from peft import LoraConfig

    if session.preset.family == "flux":
        pytest.skip("FLUX's adapter brings no LoRA along")
    unet = session.denoiser
    plain, steered = draw(session, None), draw(session, face(session, 1))
    torch.manual_seed(1)
    unet.add_adapter(
        LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_k"], init_lora_weights=False),
        "actor",
    )
    taught, both = draw(session, None), draw(session, face(session, 1))
    late = draw(session, face(session, 1, 1.0, 2))
    assert len({picture.tobytes() for picture in (plain, steered, taught, both, late)}) == 5
    assert np.array_equal(draw(session, None), taught)
    assert list(unet.peft_config) == ["actor"] and FACE_LORA not in unet.active_adapters()
    session.pipeline.unload_lora_weights()
    assert np.array_equal(draw(session, None), plain)
    assert np.array_equal(draw(session, face(session, 1)), steered)


def test_what_an_adapter_needs_is_named(session: PipelineSession) -> None:
    if session.preset.family == "flux":
        with pytest.raises(GenerationError, match="looks at the face itself"):
            draw(session, Identity(np.zeros(1, np.float32)))
        assert identity_fault(session, "dlib") is None
        assert identity_fault(session, "insightface") is None
    else:
        with pytest.raises(GenerationError, match=r"takes \d+ finite numbers"):
            draw(session, Identity(np.zeros(3, np.float32)))
        other = {"dlib": "insightface", "insightface": "dlib"}[session.preset.identity_analyzer]
        assert f"the analyzer is {other}" in str(identity_fault(session, other))


def test_pickles_are_not_loaded(session: PipelineSession) -> None:
    from avatar_pipeline.diffusion.identity_adapter import load_adapter

    pickled = session.model / "faceid.bin"
    if session.preset.name == "embedded":
        pytest.skip("its folder is not ours to write into")
    pickled.write_bytes(b"\x80\x04")
    with pytest.raises(
        ModelError,
        match=r"is no safetensors file. Convert it with "
        r"scripts/convert_ip_adapter.py",
    ):
        load_adapter(session.pipeline, session.model, "faceid.bin")
