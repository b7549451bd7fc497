"""The embedded model through the session: loading, drawing, LoRA."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.core.errors import GenerationError, ModelError
from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.prompts import base_prompt
from avatar_pipeline.diffusion.sampling import Sampling, image_to_image, text_to_image
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from avatar_pipeline.diffusion.training.dataset import face_weights, framed_face

PROMPT = base_prompt("european 38 year old female with short curly dark hair", "headshot")


@pytest.fixture(scope="module")
def session() -> Iterator[PipelineSession]:
    session = open_session(get_preset("embedded"))
    yield session
    session.close()


def draw(session: PipelineSession, seed: int = 7, steps: int = 4) -> np.ndarray:
    return np.asarray(text_to_image(session, PROMPT, seed, (512, 512), Sampling(steps, 2.0)))


def test_plain_diffusers_loads_the_shipped_model() -> None:
    from diffusers import StableDiffusionPipeline

    import avatar_pipeline.embedded.autoencoder  # noqa: F401  diffusers wants the class's module imported

    pipeline = StableDiffusionPipeline.from_pretrained(
        get_preset("embedded").model, safety_checker=None
    )
    assert type(pipeline) is StableDiffusionPipeline
    assert pipeline.vae_scale_factor == 16


def test_a_seed_gives_one_picture(session: PipelineSession) -> None:
    first = draw(session)
    assert first.shape == (512, 512, 3)
    assert np.array_equal(first, draw(session))
    assert not np.array_equal(first, draw(session, seed=8))


def test_the_pipeline_is_loaded_once(session: PipelineSession) -> None:
    assert session.pipeline is session.pipeline
    assert session.image_pipeline.unet is session.pipeline.unet


def test_little_strength_keeps_the_picture(session: PipelineSession) -> None:
    source = Image.fromarray(draw(session))
    near = np.asarray(
        image_to_image(session, source, PROMPT, 3, 0.15, Sampling(8, 2.0)), dtype=float
    )
    far = np.asarray(image_to_image(session, source, PROMPT, 3, 0.9, Sampling(8, 2.0)), dtype=float)
    original = np.asarray(source, dtype=float)
    assert np.abs(near - original).mean() < np.abs(far - original).mean()


@pytest.mark.parametrize(
    ("width", "height", "steps", "field"),
    [(7, 512, 4, "width: 7"), (512, 500, 4, "height: 500"), (512, 512, 0, "steps: 0")],
)
def test_impossible_sizes_and_steps_are_refused(
    session: PipelineSession, width: int, height: int, steps: int, field: str
) -> None:
    with pytest.raises(GenerationError, match=field):
        text_to_image(session, PROMPT, 1, (width, height), Sampling(steps, 2.0))


def test_a_missing_model_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        _ = open_session(get_preset("embedded"), model=str(tmp_path / "nowhere")).pipeline
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(ModelError, match="lacks the weights"):
        _ = open_session(get_preset("embedded"), model=str(tmp_path)).model_sha256
    with pytest.raises(ModelError, match="embedded"):
        get_preset("no_such_preset")


def test_the_loss_counts_more_in_the_face_and_the_same_on_the_whole() -> None:
    face = framed_face(get_preset("embedded"), 32, 32)
    weights = face_weights(face, 3.0)
    assert weights.mean() == pytest.approx(1.0)
    eyes, chin, wall, shoulder = weights[15, 13], weights[28, 16], weights[2, 2], weights[31, 3]
    assert (eyes, wall) == (chin, shoulder)
    assert eyes == pytest.approx(3 * float(wall))
    assert 0.15 < float((weights > 1).float().mean()) < 0.35
    assert (face_weights(face, 1.0) == 1).all()


@pytest.mark.parametrize("content", [b"", b"not a safetensors file", b"\x80\x04pickle"])
def test_bytes_that_are_no_lora_are_refused(session: PipelineSession, content: bytes) -> None:
    with pytest.raises(ModelError, match="LoRA"), applied(session, content):
        pass
