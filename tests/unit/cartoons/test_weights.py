"""The generators that ship: whole, finite, and drawing what they are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from avatar_pipeline.cartoons import dataset, generator
from avatar_pipeline.cartoons.attributes import SIZES, Size
from avatar_pipeline.cartoons.evaluation import draw
from avatar_pipeline.cartoons.networks import Generator

COUNT = 64
LEAST = 29.0  # dB; the model card has what they reach


@pytest.mark.parametrize("size", SIZES)
def test_the_weights_are_those_of_the_network_finite_and_small(size: Size) -> None:
    path = generator.WEIGHTS / f"{size}.safetensors"
    found = load_file(path)
    wanted = {name: tuple(values.shape) for name, values in Generator(size).state_dict().items()}
    assert {name: values.shape for name, values in found.items()} == {
        name: shape for name, shape in wanted.items() if not name.endswith("num_batches_tracked")
    }
    assert all(
        values.dtype == np.float16 and np.isfinite(values).all() for values in found.values()
    )
    assert path.stat().st_size < 2_000_000


@pytest.mark.parametrize("size", SIZES)
def test_held_out_cartoons_are_drawn_as_asked(size: Size, tmp_path: Path) -> None:
    asked, hot = dataset.render(size, COUNT, dataset.HELD_OUT_SEED, tmp_path)
    drawn = draw(generator.weights(size), hot)
    error = np.mean((drawn.astype(np.float64) - asked) ** 2)
    assert 10 * np.log10(255**2 / error) > LEAST
    assert (drawn[:, 3][asked[:, 3] == 0] < 8).mean() > 0.99  # real transparency
    nearest = (
        ((drawn[:, None, :, ::4, ::4].astype(np.float32) - asked[None, :, :, ::4, ::4]) ** 2)
        .mean(axis=(2, 3, 4))
        .argmin(axis=1)
    )
    assert (nearest == np.arange(COUNT)).mean() > 0.95  # each its own cartoon, not any
