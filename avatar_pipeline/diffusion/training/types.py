"""What a training is given and what it returns. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar_pipeline.diffusion.hyperparameters import LoraHyperparameters

if TYPE_CHECKING:
    from avatar_pipeline.diffusion.session import PipelineSession
    from avatar_pipeline.diffusion.training.dataset import LoraDataset


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """One training of a LoRA. The same job gives the same bytes on the same device.

    session: the base model and its device. prior: class pictures, used with `prior_loss_weight`.
    seed: of noise, order and initial weights. facts: what else evaluations depend on, by name, in a
    form that JSON can hold: it is named when a checkpoint is not continued, and decides nothing.
    """

    session: PipelineSession
    dataset: LoraDataset
    hyperparameters: LoraHyperparameters
    seed: int
    prior: LoraDataset | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def on_device(self) -> TrainingJob:
        """Return the job with its tensors on the session's device, class pictures without a weight
        left out.
        """
        where = self.session.device.where
        used = self.prior if self.hyperparameters.prior_loss_weight else None
        return replace(self, dataset=self.dataset.to(where), prior=used.to(where) if used else None)


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
class TrainingResult:
    """weights: the LoRA of the best evaluation, as a safetensors file. evaluations: by step.
    resumed_at: the step that a killed training had got to, 0 for one that ran through.
    """

    weights: bytes
    steps: Sequence[Step]
    evaluations: Mapping[int, Evaluation]
    best_step: int
    resumed_at: int = 0
