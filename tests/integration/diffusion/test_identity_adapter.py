"""The face-identity input through the session: it steers, and without an identity it leaves no
trace.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.core.errors import GenerationError, ModelError
from avatar_pipeline.diffusion.hyperparameters import LoraHyperparameters
from avatar_pipeline.diffusion.identity import Identity
from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.sampling import Sampling, image_to_image, text_to_image
from avatar_pipeline.diffusion.session import PipelineSession, identity_fault, open_session
from avatar_pipeline.diffusion.training.dataset import encode_dataset
from avatar_pipeline.diffusion.training.loop import train_lora
from avatar_pipeline.diffusion.training.types import Evaluation, TrainingJob
from tests.support.ip_adapters import EMBEDDING, write_adapter

PRESET = replace(
    get_preset("embedded"),
    identity_adapter="ip_adapter/ip_adapter.safetensors",
    identity_analyzer="dlib",
)
PROMPT = "headshot portrait photograph of a european 38 year old female with short curly dark hair"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model's folder with an adapter of random weights."""
    folder = tmp_path_factory.mktemp("model")
    for part in Path(PRESET.model).iterdir():
        if part.name != "ip_adapter":
            (folder / part.name).symlink_to(part)
    write_adapter(folder / PRESET.identity_adapter, folder / "unet")
    return folder


@pytest.fixture
def session(model: Path) -> Iterator[PipelineSession]:
    session = open_session(PRESET, model=str(model))
    yield session
    session.close()


def face(seed: int, weight: float = 1.0, start: int = 0) -> Identity:
    return Identity(
        np.random.default_rng(seed).normal(0, 0.1, EMBEDDING).astype(np.float32), weight, start
    )


def draw(session: PipelineSession, identity: Identity | None, guidance: float = 2.0) -> np.ndarray:
    return np.asarray(
        text_to_image(session, PROMPT, 7, (256, 256), Sampling(2, guidance, identity=identity))
    )


def redraw(session: PipelineSession, identity: Identity | None) -> np.ndarray:
    image = Image.fromarray(draw(session, None))
    return np.asarray(
        image_to_image(session, image, PROMPT, 3, 0.7, Sampling(3, 2.0, identity=identity))
    )


def test_a_face_steers_the_picture_and_the_next_one_is_as_if_there_had_been_none(
    session: PipelineSession,
) -> None:
    plain, redrawn = draw(session, None), redraw(session, None)
    assert np.array_equal(draw(session, face(1, 0.0)), plain)
    assert "identity_adapter" not in vars(session)  # nothing has been loaded for a scale of 0

    one = draw(session, face(1))
    assert not np.array_equal(one, plain)
    assert np.array_equal(one, draw(session, face(1)))
    assert not np.array_equal(one, draw(session, face(2)))
    assert not np.array_equal(one, draw(session, face(1, 0.4)))
    assert not np.array_equal(
        draw(session, face(1), guidance=1.0), draw(session, None, guidance=1.0)
    )
    assert not np.array_equal(redraw(session, face(1)), redrawn)
    assert not np.array_equal(redraw(session, face(1)), redraw(session, face(2)))

    assert np.array_equal(draw(session, None), plain)
    assert np.array_equal(redraw(session, None), redrawn)
    assert session.identity_adapter is session.identity_adapter


def test_an_installed_adapter_at_scale_zero_changes_nothing(session: PipelineSession) -> None:
    import torch

    def latents(**identity: object) -> torch.Tensor:
        random = torch.Generator().manual_seed(7)
        options = {
            "num_inference_steps": 2,
            "guidance_scale": 2.0,
            "generator": random,
            "output_type": "latent",
        }
        drawn: torch.Tensor = session.pipeline(
            PROMPT, width=256, height=256, **options, **identity
        ).images
        return drawn

    adapter, plain = session.identity_adapter, latents()
    embeds = adapter.arguments([face(1)], guided=True)
    with adapter.installed(session.pipeline, 0.0, [face(1)]):
        assert torch.equal(latents(**embeds), plain)
    with adapter.installed(session.pipeline, 0.5, [face(1)]):
        assert not torch.equal(latents(**embeds), plain)


def test_faces_and_loras_go_together_in_any_order(session: PipelineSession, model: Path) -> None:
    pictures = [Image.fromarray(draw(session, None))]
    plain, steered = draw(session, None), draw(session, face(1))
    settings = LoraHyperparameters(
        rank=2,
        alpha=2,
        learning_rate=1e-2,
        max_train_steps=2,
        batch_size=1,
        targets=PRESET.lora.targets,
        evaluate_every=2,
        caption_dropout=0.0,
        face_weight=2.0,
    )
    # Training calls the U-Net without an identity: an adapter that has been loaded must not be in
    # its way.
    dataset = encode_dataset(session, pictures, ["a"])
    weights = train_lora(
        TrainingJob(session, dataset, settings, 5), lambda step: None, lambda step: Evaluation(0.5)
    ).weights
    with applied(session, weights):
        taught, both = draw(session, None), draw(session, face(1))
        assert not np.array_equal(taught, plain)
        assert not np.array_equal(both, steered)
        assert not np.array_equal(both, taught)
        assert np.array_equal(draw(session, None), taught)
    assert np.array_equal(draw(session, None), plain)
    assert np.array_equal(draw(session, face(1)), steered)

    fresh = open_session(PRESET, model=str(model))
    with applied(fresh, weights):  # the adapter's first use is under the LoRA
        assert np.array_equal(draw(fresh, face(1)), both)
        assert np.array_equal(draw(fresh, None), taught)
    assert np.array_equal(draw(fresh, None), plain)
    fresh.close()


@pytest.mark.parametrize(
    "embedding", [np.zeros(512, np.float32), np.full(EMBEDDING, np.nan, np.float32)]
)
def test_another_analyzers_embedding_is_refused(
    session: PipelineSession, embedding: np.ndarray
) -> None:
    with pytest.raises(GenerationError, match=r"takes 128 finite numbers.*identity_analyzer"):
        draw(session, Identity(embedding, 1.0))


def test_a_weight_or_a_start_out_of_range_is_refused(session: PipelineSession) -> None:
    with pytest.raises(
        GenerationError,
        match=r"id_weight: 3.5 is out of range. Give 0 \(no "
        r"identity\) to 3",
    ):
        face(1, 3.5)
    with pytest.raises(GenerationError, match="id_timestep_start: -1 is out of range"):
        face(1, 1.0, -1)
    with pytest.raises(
        GenerationError, match="id_timestep_start: 2 is beyond the last of 2 steps.*Give 0 to 1"
    ):
        draw(session, face(1, 1.0, 2))


def test_a_model_without_an_adapter_says_so(tmp_path: Path) -> None:
    for part in Path(PRESET.model).iterdir():
        if part.name != "ip_adapter":
            (tmp_path / part.name).symlink_to(part)
    session = open_session(PRESET, model=str(tmp_path))
    with pytest.raises(ModelError, match=r"ip_adapter\.safetensors is missing.*identity_scale: 0"):
        draw(session, face(1))
    assert (
        identity_fault(session, "dlib")
        == f"the model in {tmp_path} has no ip_adapter/ip_adapter.safetensors"
    )
    file = tmp_path / PRESET.identity_adapter
    file.parent.mkdir()
    file.write_bytes(b"not a safetensors file")
    with pytest.raises(ModelError, match="does not fit"):
        draw(session, face(1))
    plain = draw(session, None)  # a failed load leaves nothing behind
    assert plain.shape == (256, 256, 3)
    assert identity_fault(session, "dlib") is None
    assert "the analyzer is insightface" in str(identity_fault(session, "insightface"))
    without = open_session(replace(PRESET, identity_adapter=""), model=str(tmp_path))
    with pytest.raises(ModelError, match="no face-identity input"):
        _ = without.identity_adapter
    assert "no face-identity input" in str(identity_fault(without, "dlib"))
    session.close()
