"""Learning rate, averaged weights and weight decay: what they are at which step."""

from __future__ import annotations

import math

import pytest
import torch

from avatar_pipeline.diffusion.training.optimizer import (
    AveragedWeights,
    gradient_norm,
    learning_rate_factor,
    make_optimizer,
)


def test_the_learning_rate_warms_up_for_ten_steps_and_falls_along_a_cosine_to_a_tenth() -> None:
    factors = [learning_rate_factor(step, 400) for step in range(1, 401)]
    assert factors[:9] == pytest.approx(
        [step / 10 * (0.55 + 0.45 * math.cos(math.pi * step / 400)) for step in range(1, 10)],
        abs=1e-12,
    )
    assert factors[9] == max(factors) == pytest.approx(0.55 + 0.45 * math.cos(math.pi / 40))
    assert factors[199] == pytest.approx(0.55)
    assert factors[399] == pytest.approx(0.1)
    assert factors[9:] == sorted(factors[9:], reverse=True)


def test_averaged_weights_forget_their_start_and_then_keep_to_their_decay() -> None:
    weights = [torch.zeros(2)]
    average = AveragedWeights(weights, 0.9)
    expected, decays = 0.0, []
    for step in range(1, 200):
        weights[0].fill_(float(step % 7))
        average.update(weights, step)
        decays.append(min(0.9, (1 + step) / (10 + step)))
        expected = decays[-1] * expected + (1 - decays[-1]) * (step % 7)
        assert float(average.values[0][0]) == pytest.approx(expected, rel=1e-4)
    assert decays[0] == pytest.approx(2 / 11) and decays[-1] == 0.9
    held = float(weights[0][0])
    average.swap(weights)
    assert (
        float(weights[0][0]) == pytest.approx(expected, rel=1e-4)
        and float(average.values[0][0]) == held
    )


def test_weights_without_a_gradient_decay_by_a_ten_thousandth_of_the_rate() -> None:
    weight = torch.ones(1, requires_grad=True)
    optimizer = make_optimizer("adamw", [weight], 0.5)
    weight.grad = torch.zeros(1)
    optimizer.step()
    assert float(weight.detach()) == pytest.approx(1 - 0.5 * 1e-4, abs=1e-6)


def test_gradients_are_clipped_to_length_1_together_and_shorter_ones_left() -> None:
    parameters = [torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)]
    for length, clipped in ((5.0, 1.0), (0.5, 0.5)):
        for parameter, share in zip(parameters, (0.6, 0.8), strict=True):
            parameter.grad = torch.full((1,), length * share)
        assert gradient_norm(parameters) == pytest.approx(length)
        found = math.hypot(*(float(parameter.grad) for parameter in parameters))  # type: ignore[arg-type]
        assert found == pytest.approx(clipped, rel=1e-4)
