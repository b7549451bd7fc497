"""What a training tells while it runs, and what it hands back. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Step:
    """One optimizer step. loss: averaged over its pictures. gradient_norm: before clipping to 1;
    not a finite number where float16 overflowed and the step was left out.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found. score: lower is better. facts: numbers to keep. pictures: (H, W, 3)
    uint8, all of one size.
    """

    score: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    pictures: Sequence[np.ndarray] = ()


@dataclass(frozen=True)
class Trained:
    """weights: the LoRA of the best evaluation, as a safetensors file. evaluations: by step.
    resumed_at: the step that a killed training had got to, 0 for one that ran through.
    """

    weights: bytes
    steps: Sequence[Step]
    evaluations: Mapping[int, Evaluation]
    best_step: int
    resumed_at: int = 0
