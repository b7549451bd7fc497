"""The figures: each is right on data whose figure is known."""

from __future__ import annotations

import numpy as np
import pytest

from avatar_pipeline.cartoons import classifiers, evaluation, statistics
from avatar_pipeline.cartoons.attributes import attributes, chosen, described, draw_latents
from avatar_pipeline.cartoons.figures import Figure, table


def test_diversity_is_the_mean_distance_between_two() -> None:
    points = np.array([[0.0, 0], [3, 4], [0, 8]]) * 255
    assert statistics.mean_distance(points) == pytest.approx((5 + 8 + 5) / 3, rel=1e-5)
    assert statistics.mean_distance(np.ones((5, 3))) == pytest.approx(0, abs=1e-6)


def test_covered_clusters_are_those_that_samples_come_to() -> None:
    rng = np.random.default_rng(1)
    data = np.repeat(np.eye(10), 20, axis=0) * 100 + rng.normal(size=(200, 10))
    assert statistics.covered(data, data, 10) == 1.0
    half = data[:100]
    assert statistics.covered(data, half, 10) == pytest.approx(0.5, abs=0.11)
    assert statistics.covered(data, np.repeat(data[:1], 50, axis=0), 10) == pytest.approx(
        0.1, abs=0.03
    )


def test_the_frechet_distance_of_shifted_and_widened_normals() -> None:
    rng = np.random.default_rng(1)
    data = rng.normal(size=(4000, 3))
    assert statistics.frechet(data, data) == pytest.approx(0, abs=1e-6)
    assert statistics.frechet(data, data + np.array([3, 0, 4])) == pytest.approx(5, rel=1e-6)
    assert statistics.frechet(data, 3 * data) == pytest.approx(2 * np.sqrt(3), rel=0.05)


def test_judges_tell_what_differs_and_not_what_does_not() -> None:
    rng = np.random.default_rng(1)
    assert classifiers.roc_auc(np.array([1.0, 2]), np.array([3.0, 4])) == 1.0
    assert classifiers.roc_auc(np.array([1.0, 1]), np.array([1.0, 1])) == 0.5
    assert classifiers.roc_auc(np.array([1.0, 3]), np.array([2.0, 4])) == 0.75
    same = [rng.normal(size=(300, 4)) for _ in range(4)]
    assert classifiers.linear_auc((same[0], same[1]), (same[2], same[3])) == pytest.approx(
        0.5, abs=0.1
    )
    shifted = [part + np.array([2, 0, 0, 0]) * (index % 2) for index, part in enumerate(same)]
    assert classifiers.linear_auc((shifted[0], shifted[1]), (shifted[2], shifted[3])) > 0.85


def test_classes_have_one_more_for_what_is_not_drawn() -> None:
    hot = chosen(draw_latents("large", 50, 3), "large")
    for row, found in zip(hot, classifiers.classes(hot, "large"), strict=True):
        words = described(row, "large")
        for item, index in zip(attributes("large"), found, strict=True):
            assert words.get(item.name) == (
                item.choices[index] if index < len(item.choices) else None
            )


def test_ripple_and_contrast() -> None:
    asked = np.full((1, 4, 20, 20), 255, np.uint8)
    asked[:, :3, :, :10] = 0
    assert evaluation.texture(asked, asked) == {
        "ripple in flat colours, of 255": (0.0, 0.0, None),
        "contrast of outlines": (1.0, 1.0, None),
    }
    drawn = asked.copy()
    drawn[:, :3, :, 0:20:2] ^= 6  # 0 to 6, and 255 to 249
    found = evaluation.texture(asked, drawn)
    assert found["ripple in flat colours, of 255"].value == 6.0
    drawn = asked // 2 + 64  # 64 and 191
    assert evaluation.texture(asked, drawn)["contrast of outlines"].value == pytest.approx(
        127 / 255, abs=0.01
    )


def test_the_table_has_a_line_for_each_figure_and_the_bounds() -> None:
    figures = {
        "clusters covered": Figure(0.5, 1.0, 0.9),
        "PSNR, dB": Figure(31.26),
    }
    assert not figures["clusters covered"].met and figures["PSNR, dB"].met
    lines = table(
        {"small": figures, "large": {"clusters covered": Figure(0.9, 1.0, 0.9)}}
    ).splitlines()
    assert lines[2] == "| clusters covered | 0.500 | 1.000 | 0.900 | 1.000 | 0.9 |"
    assert lines[3] == "| PSNR, dB | 31.3 |  |  |  |  |"
