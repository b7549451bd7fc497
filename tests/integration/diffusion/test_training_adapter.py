"""A distilled model is trained with an adapter that undoes the distillation, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar_pipeline.core.errors import GenerationError, ModelError
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.sampling import Sampling, text_to_image
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from avatar_pipeline.diffusion.training.training_adapter import training_adapter
from avatar_pipeline.diffusion.training.types import Evaluation
from tests.support import tiny_models
from tests.support.loras import make_lora
from tests.support.training_sets import SIZE, settings, square_set, tiny_session, train

HEAD = (256, 256)


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PipelineSession]:
    folder = tiny_models.build("flux2", tmp_path_factory.mktemp("distilled"))
    sizes = {"headshot": (SIZE, SIZE), "half_body": (SIZE, SIZE), "full_body": (SIZE, SIZE)}
    preset = replace(get_preset("flux2-klein"), sizes=sizes, size_multiple=16)
    session = open_session(preset, "cpu", str(folder))
    yield session
    session.close()


@pytest.fixture(scope="module")
def adapter(distilled: PipelineSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("adapter") / "adapter.safetensors"
    file.write_bytes(make_lora(distilled.model))
    return str(file)


def draw(session: PipelineSession) -> np.ndarray:
    return np.asarray(text_to_image(session, "a man", 7, HEAD, Sampling(2, 1.0)))


def test_a_distilled_model_is_not_trained_and_its_base_is_named(distilled: PipelineSession) -> None:
    with pytest.raises(
        ModelError,
        match=r"no LoRA can be trained on local:.*: it is distilled. Train on its base, "
        r"black-forest-labs/FLUX.2-klein-base-4B: .*training_model",
    ):
        train(distilled, settings(distilled))


def test_steps_see_the_adapter_and_drawings_do_not(
    distilled: PipelineSession, adapter: str
) -> None:
    before = {name: value.clone() for name, value in distilled.denoiser.named_parameters()}
    plain = draw(distilled)
    pictures: list[np.ndarray] = []

    def evaluate(step: int) -> Evaluation:
        pictures.append(draw(distilled))
        return Evaluation(-step)

    asked = settings(distilled, training_adapter=adapter, learning_rate=1e-12)
    train(distilled, asked, evaluate=evaluate)
    assert pictures and all(np.array_equal(picture, plain) for picture in pictures)
    after = dict(distilled.denoiser.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert np.array_equal(draw(distilled), plain)


def test_it_is_trained_as_on_a_model_with_the_adapter_in_its_weights(
    distilled: PipelineSession, adapter: str, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(distilled.model, whole)
    index = whole / "model_index.json"
    index.write_text(index.read_text().replace('"is_distilled": true', '"is_distilled": false'))
    with training_adapter(distilled, adapter):
        distilled.denoiser.save_pretrained(whole / "transformer")
    base = tiny_session("flux2", whole)
    dataset = square_set(distilled)
    asked = settings(distilled, training_adapter=adapter)
    with_adapter = train(distilled, asked, dataset)
    on_it = train(base, settings(base), dataset)
    base.close()
    assert with_adapter.weights == on_it.weights
    assert [step.loss for step in with_adapter.steps] == [step.loss for step in on_it.steps]


def test_an_adapter_that_cannot_be_used_is_named(
    distilled: PipelineSession,
    adapter: str,
    tmp_path: Path,
    tiny_folder: Callable[[str], Path],
) -> None:
    missing = str(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match=r"training_adapter: there is no file .*none"):
        train(distilled, settings(distilled, training_adapter=missing))
    other = tmp_path / "sdxl.safetensors"
    other.write_bytes(make_lora(tiny_folder("sdxl")))
    with pytest.raises(ModelError, match="the LoRA"):
        train(distilled, settings(distilled, training_adapter=str(other)))
    with pytest.raises(GenerationError, match="training_adapter and quantization"):
        train(distilled, settings(distilled, training_adapter=adapter, quantization="fp8"))
