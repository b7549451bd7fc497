"""The figures of a cartoon generator: diversity, clusters covered, separable from real ones or not,
and whether it draws what it is asked for.

Measured is what the service hands out: drawn by generator.py, its alpha cleaned. Each figure has
its reference, which is what DiceBear's own pictures get in the place of generated ones: nothing
scores better than that. All of it is measured in features of our own (classifiers.py). The Frechet
distance between them is therefore not a FID.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from avatar_pipeline.cartoons import classifiers, generator
from avatar_pipeline.cartoons.attributes import Size, attributes, chosen, draw_latents
from avatar_pipeline.cartoons.dataset import COUNT, SEED, render
from avatar_pipeline.cartoons.dicebear import premultiplied
from avatar_pipeline.cartoons.figures import BOUNDS, Figure
from avatar_pipeline.cartoons.statistics import covered, frechet, mean_distance

# Neither the training's nor the held-out pictures' seed. Real ones, and those that the generator is
# asked for.
REAL_SEED, ASKED_SEED = SEED + 2, SEED + 3
JUDGES_SEED = 17
# How much of its colour a pixel may have that should be transparent, of 255: less is invisible on
# any background.
INVISIBLE = 8
# Pixels of a square that counts as flat, and the step between neighbours, of 255, that counts as an
# edge.
FLAT, EDGE = 5, 64


@dataclass(frozen=True)
class Amount:
    """How much to measure.

    data: training pictures that stand for the data set. samples: for diversity and clusters. known,
    new: pictures of either kind that a judge is trained and tested on. clusters: of the data's
    features.
    """

    data: int = 6000
    samples: int = 1000
    known: int = 1000
    new: int = 500
    clusters: int = 100
    reader_steps: int = 1200
    judge_steps: int = 300

    def at_most(self, pictures: int | None, steps: int | None) -> Amount:
        """Return less of everything, to try it out; None: the full amount. Fewer than 24 pictures
        measure nothing.
        """
        if pictures is None and steps is None:
            return self
        few, short = (10**9 if limit is None else limit for limit in (pictures, steps))
        return Amount(
            data=min(few, self.data),
            samples=min(few, self.samples),
            known=min(few // 2, self.known),
            new=min(few // 2, self.new),
            clusters=min(few // 10, self.clusters),
            reader_steps=min(short, self.reader_steps),
            judge_steps=min(short, self.judge_steps),
        )


class Evaluation(NamedTuple):
    """figures by name; asked: DiceBear's pictures of what the generator was asked for; drawn: its
    own.
    """

    figures: dict[str, Figure]
    asked: np.ndarray
    drawn: np.ndarray


def evaluate(weights: generator.Weights, size: Size, amount: Amount = Amount()) -> Evaluation:
    """Measure a generator; three minutes a size on one core. The same weights give the same figures
    on the same machine.
    """
    count = max(amount.samples, amount.known + amount.new)
    # mapped from disk: 65 KB a picture
    with tempfile.TemporaryDirectory(prefix="cartoons-") as folder:
        data, data_hot = render(size, amount.data, SEED, Path(folder, "data"))
        real, real_hot = render(size, count, REAL_SEED, Path(folder, "real"))
        asked, hot = render(size, count, ASKED_SEED, Path(folder, "asked"))
        drawn = draw(weights, hot)
        reader = classifiers.train_attribute_classifier(
            data, data_hot, size, amount.reader_steps, JUDGES_SEED
        )
        features = {
            name: classifiers.classify(reader, part, size)
            for name, part in (("data", data), ("real", real), ("drawn", drawn))
        }
        figures = _diversity(
            data, real, drawn, {name: part[0] for name, part in features.items()}, amount
        )
        figures |= _separability(
            real,
            asked,
            drawn,
            features["real"][0],
            classifiers.classify(reader, asked, size)[0],
            features["drawn"][0],
            size,
            amount,
        )
        figures |= _as_requested(asked, drawn, hot, size)
        figures |= _classified_as_requested(
            features["drawn"][1], hot, features["real"][1], real_hot, size
        )
        return Evaluation(figures, np.array(asked), drawn)


def draw(weights: generator.Weights, hot: np.ndarray) -> np.ndarray:
    """Return (n, latent size) of zeros and ones -> (n, 4, pixels, pixels) uint8, premultiplied, as
    the service hands them out.
    """
    # only on a terminal
    rows = tqdm(hot.astype(np.float32), desc="generated", unit="picture", disable=None)
    return np.stack(
        [premultiplied(generator.picture(generator.forward(weights, row))) for row in rows]
    )


def _diversity(
    data: np.ndarray,
    real: np.ndarray,
    drawn: np.ndarray,
    features: Mapping[str, np.ndarray],
    amount: Amount,
) -> dict[str, Figure]:
    """Return the mean distances between two of the samples against the data's, and which clusters
    of the data the samples come to.
    """
    count = amount.samples
    whole, few, new = (
        mean_distance(part[:count].reshape(count, -1)) for part in (data, drawn, real)
    )
    found = {"diversity, pixels": Figure(few / whole, new / whole, BOUNDS["diversity, pixels"])}
    whole, few, new = (mean_distance(features[name][:count]) for name in ("data", "drawn", "real"))
    found["diversity, features"] = Figure(few / whole, new / whole, BOUNDS["diversity, features"])
    few, new = (
        covered(features["data"], features[name][:count], amount.clusters)
        for name in ("drawn", "real")
    )
    found["clusters covered"] = Figure(few, new, BOUNDS["clusters covered"])
    few, new = (frechet(features["data"], features[name]) for name in ("drawn", "real"))
    return found | {"Frechet distance, own features": Figure(few, new)}


def _separability(
    real: np.ndarray,
    asked: np.ndarray,
    drawn: np.ndarray,
    real_features: np.ndarray,
    asked_features: np.ndarray,
    drawn_features: np.ndarray,
    size: Size,
    amount: Amount,
) -> dict[str, Figure]:
    """Return how well classifiers separate generated from real (AUC on pictures new to them); real
    against other real ones is the reference.
    """
    known, new = slice(amount.known), slice(amount.known, amount.known + amount.new)

    def linear(other: np.ndarray) -> float:
        return classifiers.linear_auc(
            (real_features[known], other[known]), (real_features[new], other[new])
        )

    def network(other: np.ndarray) -> float:
        return classifiers.network_auc(
            (real[known], other[known]),
            (real[new], other[new]),
            size,
            amount.judge_steps,
            JUDGES_SEED,
        )

    return {
        "told from real, linear on features (AUC)": Figure(
            linear(drawn_features), linear(asked_features)
        ),
        "told from real, network (AUC)": Figure(network(drawn), network(asked)),
    }


def _as_requested(
    asked: np.ndarray, drawn: np.ndarray, hot: np.ndarray, size: Size
) -> dict[str, Figure]:
    """Return how close the pictures come to those asked for, of combinations of attributes that are
    not in the training set.
    """
    trained = {
        row.tobytes() for row in chosen(draw_latents(size, COUNT, SEED), size).astype(np.uint8)
    }
    unseen = np.array([row.tobytes() not in trained for row in hot])
    asked, drawn = asked[unseen], drawn[unseen]
    errors = np.array(
        [
            np.mean((one.astype(np.float64) - other) ** 2)
            for one, other in zip(asked, drawn, strict=True)
        ]
    )
    empty = asked[:, 3] == 0
    return {
        "combinations of attributes never trained on": Figure(float(unseen.mean())),
        "PSNR, dB": Figure(float(10 * np.log10(255**2 / errors.mean()))),
        "PSNR of the worst 5 %, dB": Figure(
            float(10 * np.log10(255**2 / np.quantile(errors, 0.95)))
        ),
        "transparent where it should be": Figure(
            float((drawn[:, 3][empty] < INVISIBLE).mean()), 1.0
        ),
        **texture(asked, drawn),
    }


def texture(asked: np.ndarray, drawn: np.ndarray) -> dict[str, Figure]:
    """Return two things that the eye sees and a mean error does not: ripple where DiceBear's colour
    is flat, and how hard the outlines are.

    The ripple is the mean difference between neighbours, 0 to 255, in squares of 5 pixels that
    should be of one opaque colour. The contrast is that of neighbours at edges, against what it
    should be.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    ripple, pairs, contrast, wanted = 0.0, 0, 0.0, 0.0
    for one, other in zip(asked.astype(np.int16), drawn.astype(np.int16), strict=True):
        window = (1, FLAT, FLAT)
        flat = (maximum_filter(one, window) == minimum_filter(one, window)).all(axis=0) & (
            one[3] == 255
        )
        should, does = (np.abs(np.diff(picture[:3], axis=2)) for picture in (one, other))
        ripple, pairs = (
            ripple + float(does[:, flat[:, 1:]].sum()),
            pairs + 3 * int(flat[:, 1:].sum()),
        )
        edges = should > EDGE
        contrast, wanted = contrast + float(does[edges].sum()), wanted + float(should[edges].sum())
    return {
        "ripple in flat colours, of 255": Figure(ripple / pairs, 0.0),
        "contrast of outlines": Figure(contrast / wanted, 1.0),
    }


def _classified_as_requested(
    found: np.ndarray, hot: np.ndarray, real: np.ndarray, real_hot: np.ndarray, size: Size
) -> dict[str, Figure]:
    """Return how often the classifier finds the attribute that was asked for, on generated and on
    real pictures.
    """
    drawn = (found == classifiers.classes(hot, size)).mean(axis=0)
    reference = (real == classifiers.classes(real_hot, size)).mean(axis=0)
    names = [item.name for item in attributes(size)]
    return {
        f"read right: {name}": Figure(float(a), float(b))
        for name, a, b in zip(names, drawn, reference, strict=True)
    }
