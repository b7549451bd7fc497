"""Training through a session of the bundled model."""

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.diffusion.hyperparameters import LoraHyperparameters
from avatar_pipeline.diffusion.lora import ADAPTER, applied
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.prompts import base_prompt
from avatar_pipeline.diffusion.sampling import Sampling, text_to_image
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from avatar_pipeline.diffusion.training.dataset import encode_dataset
from avatar_pipeline.diffusion.training.loop import train_lora
from avatar_pipeline.diffusion.training.types import Evaluation, TrainingJob

PROMPT = base_prompt("european 38 year old female with short curly dark hair", "headshot")


@pytest.fixture(scope="module")
def session() -> Iterator[PipelineSession]:
    session = open_session(get_preset("embedded"))
    yield session
    session.close()


def draw(session: PipelineSession, seed: int = 7, steps: int = 4) -> np.ndarray:
    return np.asarray(text_to_image(session, PROMPT, seed, (512, 512), Sampling(steps, 2.0)))


def test_a_lora_whose_alpha_differs_from_its_rank_comes_back_bit_for_bit(
    session: PipelineSession,
) -> None:
    plain = draw(session)
    pictures = [Image.fromarray(draw(session, seed)) for seed in (1, 2, 3)]
    dataset = encode_dataset(session, pictures, ["a", "b", "c"])
    settings = LoraHyperparameters(
        rank=4,
        alpha=12,
        learning_rate=1e-2,
        max_train_steps=3,
        batch_size=2,
        targets=session.preset.lora.targets,
        evaluate_every=3,
        caption_dropout=0.0,
        face_weight=2.0,
    )
    while_training: list[np.ndarray] = []

    def evaluate(step: int) -> Evaluation:
        while_training.append(draw(session))
        return Evaluation(0.5)

    losses: list[float] = []
    weights = train_lora(
        TrainingJob(session, dataset, settings, 5), lambda step: losses.append(step.loss), evaluate
    ).weights
    assert len(losses) == 3
    assert np.array_equal(draw(session), plain)  # training leaves the base model as it was

    with applied(session, weights):
        config = session.pipeline.unet.peft_config[ADAPTER]
        assert (config.r, config.lora_alpha) == (4, 12)
        assert np.array_equal(draw(session), while_training[-1])
    assert not np.array_equal(while_training[-1], plain)
    assert np.array_equal(draw(session), plain)

    again = train_lora(
        TrainingJob(session, dataset, settings, 5), lambda step: None, lambda step: Evaluation(0.5)
    ).weights
    assert again == weights
    assert (
        train_lora(
            TrainingJob(session, dataset, settings, 6),
            lambda step: None,
            lambda step: Evaluation(0.5),
        ).weights
        != weights
    )


def test_the_best_evaluation_is_kept_not_the_last(session: PipelineSession) -> None:
    dataset = encode_dataset(session, [Image.fromarray(draw(session))], ["a"])
    settings = LoraHyperparameters(
        rank=2,
        alpha=2,
        learning_rate=1e-2,
        max_train_steps=4,
        batch_size=1,
        targets=("to_q",),
        evaluate_every=2,
        caption_dropout=0.0,
        face_weight=2.0,
    )

    def train(scores: dict[int, float]) -> bytes:
        return train_lora(
            TrainingJob(session, dataset, settings, 1),
            lambda step: None,
            lambda step: Evaluation(scores[step]),
        ).weights

    early, late = train({2: 0.1, 4: 0.9}), train({2: 0.9, 4: 0.1})
    assert early != late
