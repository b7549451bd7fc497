"""Networks of our own for cartoons: one classifies their attributes, others separate real from
generated.

The reader is trained on DiceBear's pictures alone, never on generated ones; what precedes its
answers are the features in which diversity and clusters are measured. All train in about a minute
on one core.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from avatar_pipeline.cartoons.attributes import PIXELS, Size, attributes, blocks

CHANNELS = (4, 24, 48, 64, 96, 128)
FEATURES = 128
BATCH = 64
RATE = 2e-3
# Of the pictures' range of 2: a reader that has seen noise does not take a generator's faint ripple
# for another attribute.
NOISE = 0.06
LINEAR_DECAY = 1e-3


class AttributeClassifier(nn.Module):
    """Pictures (n, 4, pixels, pixels), -1 to 1, to `outputs` numbers each; `features` is what the
    last layer sees.
    """

    def __init__(self, size: Size, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(CHANNELS):
            layers += [
                nn.Conv2d(narrow, wide, 3, 2, 1, bias=False),
                nn.BatchNorm2d(wide),
                nn.ReLU(),
            ]
        cells = (PIXELS[size] // 2 ** (len(CHANNELS) - 1)) ** 2
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(CHANNELS[-1] * cells, FEATURES), nn.ReLU()
        )
        self.last = nn.Linear(FEATURES, outputs)

    def features(self, pictures: Tensor) -> Tensor:
        return self.layers(pictures)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.last(self.features(pictures))


def classes(hot: np.ndarray, size: Size) -> np.ndarray:
    """Return (n, attributes) int64: which choice each attribute is; one past the last where an
    optional one is not drawn.
    """
    columns = [
        np.where(part.any(axis=1), part.argmax(axis=1), part.shape[1])
        for part in (hot[:, b] for _, b in blocks(size))
    ]
    return np.stack(columns, axis=1).astype(np.int64)


def train_attribute_classifier(
    pictures: np.ndarray, hot: np.ndarray, size: Size, steps: int, seed: int
) -> AttributeClassifier:
    """Train a network that classifies every attribute of an image."""
    counts, truth = _counts(size), torch.from_numpy(classes(hot, size))

    def loss(answers: Tensor, picks: np.ndarray) -> Tensor:
        parts = answers.split(counts, dim=1)
        return torch.stack(
            [F.cross_entropy(part, truth[picks, index]) for index, part in enumerate(parts)]
        ).sum()

    return _train(
        pictures,
        AttributeClassifier,
        size,
        sum(counts),
        loss,
        steps,
        seed,
        NOISE,
        "reader of attributes",
    )


def classify(
    reader: AttributeClassifier, pictures: np.ndarray, size: Size
) -> tuple[np.ndarray, np.ndarray]:
    """Return (features (n, FEATURES) float64, classes read (n, attributes)) of uint8 pictures."""
    features, found = [], []
    with torch.inference_mode():
        for start in range(0, len(pictures), 250):
            batch = reader.features(_scaled(pictures[start : start + 250]))
            features.append(batch.numpy())
            parts = reader.last(batch).split(_counts(size), dim=1)
            found.append(torch.stack([part.argmax(dim=1) for part in parts], dim=1).numpy())
    return np.concatenate(features).astype(np.float64), np.concatenate(found)


def network_auc(
    known: tuple[np.ndarray, np.ndarray],
    new: tuple[np.ndarray, np.ndarray],
    size: Size,
    steps: int,
    seed: int,
) -> float:
    """Return how well a network trained end to end separates the second of a pair of sets of
    pictures from the first: ROC AUC on new ones.
    """
    pictures = np.concatenate(known)
    truth = torch.cat([torch.zeros(len(known[0])), torch.ones(len(known[1]))])

    def loss(answers: Tensor, picks: np.ndarray) -> Tensor:
        return F.binary_cross_entropy_with_logits(answers.squeeze(1), truth[picks])

    judge = _train(pictures, AttributeClassifier, size, 1, loss, steps, seed, 0.0, "judge")
    with torch.inference_mode():
        one, other = (
            np.concatenate(
                [judge(_scaled(p[i : i + 250])).squeeze(1).numpy() for i in range(0, len(p), 250)]
            )
            for p in new
        )
    return roc_auc(one, other)


def linear_auc(known: tuple[np.ndarray, np.ndarray], new: tuple[np.ndarray, np.ndarray]) -> float:
    """Return the same by logistic regression on features: ROC AUC on new ones."""
    mean, spread = np.concatenate(known).mean(axis=0), np.concatenate(known).std(axis=0) + 1e-6
    inputs = torch.from_numpy((np.concatenate(known) - mean) / spread)
    truth = torch.cat([torch.zeros(len(known[0])), torch.ones(len(known[1]))]).double()
    weights = torch.zeros(inputs.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(inputs @ weights[:-1] + weights[-1], truth)
        loss = loss + LINEAR_DECAY * weights[:-1].square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    one, other = (((part - mean) / spread) @ weights[:-1].detach().numpy() for part in new)
    return roc_auc(one, other)


def roc_auc(one: np.ndarray, other: np.ndarray) -> float:
    """Return how often a score of the other set exceeds one of the first: 0.5 when the sets cannot
    be separated, 1 when always.
    """
    one = np.sort(one)
    # ties count half
    below = np.searchsorted(one, other, "left") + np.searchsorted(one, other, "right")
    return float(below.mean() / 2 / len(one))


def _train(
    pictures: np.ndarray,
    make: Callable[[Size, int], AttributeClassifier],
    size: Size,
    outputs: int,
    loss: Callable[[Tensor, np.ndarray], Tensor],
    steps: int,
    seed: int,
    noise: float,
    name: str,
) -> AttributeClassifier:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = make(size, outputs)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1)
    # only on a terminal
    for _ in tqdm(range(steps), desc=f"{name}, {size}", unit="step", disable=None):
        picks = np.sort(rng.choice(len(pictures), min(BATCH, len(pictures)), replace=False))
        batch = _scaled(pictures[picks])
        batch = (batch + noise * torch.randn_like(batch)).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            answers = network(batch)
        optimizer.zero_grad(set_to_none=True)
        loss(answers.float(), picks).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def _counts(size: Size) -> list[int]:
    """Return how many classes each attribute has: its choices, and none of them where it is
    optional.
    """
    return [len(item.choices) + (item.share < 1) for item in attributes(size)]


def _scaled(pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(pictures).astype(np.float32)) / 127.5 - 1
