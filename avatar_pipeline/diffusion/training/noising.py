"""Noise levels, noisy latents, and what the denoiser should predict for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.hyperparameters import LoraHyperparameters

Prediction = Literal["epsilon", "v_prediction", "flow"]
TIMESTEPS = 1000


@dataclass(frozen=True, eq=False)
class TrainingTarget:
    """A batch of noisy latents and what the denoiser should predict for them.

    noisy, target: (N, C, h, w). timesteps: (N,) in 0-1000. weight: (N, 1, 1, 1) of each picture's
    loss, None for all alike.
    """

    noisy: torch.Tensor
    target: torch.Tensor
    timesteps: torch.Tensor
    weight: torch.Tensor | None


class Objective:
    """How a base model was trained, read off its scheduler: to predict noise, velocity, or
    rectified flow.

    image_tokens: how many tokens the denoiser sees of latents. Raises ModelError for any other
    kind.
    """

    def __init__(
        self,
        scheduler: Any,
        hyperparameters: LoraHyperparameters,
        image_tokens: Callable[[torch.Tensor], int],
    ) -> None:
        self.prediction = prediction(scheduler)
        self._image_tokens = image_tokens
        self._hyperparameters = hyperparameters
        self._shift: Callable[[int, torch.Tensor], torch.Tensor] | None = None
        if self.prediction == "flow":
            if type(scheduler).__name__.startswith("FlowMatch"):
                self._shift = _time_shift(scheduler.config)
        else:
            from diffusers import DDPMScheduler

            self._noise_schedule = DDPMScheduler.from_config(scheduler.config)

    def sample_batch(self, clean: torch.Tensor, random: torch.Generator) -> TrainingTarget:
        """Draw noise and noise levels for clean latents (N, C, h, w). All draws are on the CPU, the
        same for every device.
        """
        noise = torch.randn(clean.shape, generator=random).to(clean.device)
        if self.prediction == "flow":
            t = self._flow_times(clean, random).to(clean.device)
            mixed = torch.lerp(clean, noise, t[:, None, None, None])
            return TrainingTarget(mixed, noise - clean, t * TIMESTEPS, None)
        steps = torch.randint(TIMESTEPS, (len(clean),), generator=random).to(clean.device)
        mixed = self._noise_schedule.add_noise(clean, noise, steps)
        velocity = self.prediction == "v_prediction"
        target = self._noise_schedule.get_velocity(clean, noise, steps) if velocity else noise
        return TrainingTarget(mixed, target, steps, self._snr_weight(steps))

    def _flow_times(self, clean: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        """(N,) shares of noise: some drawn evenly, the others from a logit-normal (arXiv
        2403.03206), then shifted for the size.
        """
        asked, count = self._hyperparameters, len(clean)
        logits = torch.randn(count, generator=random) * asked.timestep_spread + asked.timestep_mean
        evenly = torch.rand(count, generator=random) < asked.timestep_uniform
        t = torch.where(evenly, torch.rand(count, generator=random), torch.sigmoid(logits))
        return t if self._shift is None else self._shift(self._image_tokens(clean), t)

    def _snr_weight(self, steps: torch.Tensor) -> torch.Tensor | None:
        """Min-SNR weights (arXiv 2303.09556, section 3.4): steps of little noise, which are easy,
        no longer outweigh the others.
        """
        if not self._hyperparameters.snr_gamma:
            return None
        from diffusers.training_utils import compute_snr

        snr = compute_snr(self._noise_schedule, steps)
        capped = snr.clamp(max=self._hyperparameters.snr_gamma)
        return (capped / (snr + 1 if self.prediction == "v_prediction" else snr))[
            :, None, None, None
        ]


def prediction(scheduler: Any) -> Prediction:
    """Return what the model that comes with this scheduler predicts. Raises ModelError for what
    cannot be trained.
    """
    kind = scheduler.config.get("prediction_type")
    if type(scheduler).__name__.startswith("FlowMatch") or kind == "flow_prediction":
        return "flow"
    if kind in ("epsilon", "v_prediction"):
        return kind
    raise ModelError(
        f"the base model predicts {kind!r}, by its scheduler {type(scheduler).__name__}; LoRA "
        "training knows epsilon, v_prediction and "
        "flow_prediction. Use another model."
    )


def _time_shift(config: Any) -> Callable[[int, torch.Tensor], torch.Tensor]:
    """The flow models' shift of noise levels: by the number of tokens, as more pixels need more
    noise to hide the same, or by a constant. As FlowMatchEulerDiscreteScheduler does it.
    """

    def shifted(tokens: int, t: torch.Tensor) -> torch.Tensor:
        if config.use_dynamic_shifting:
            position = (tokens - config.base_image_seq_len) / (
                config.max_image_seq_len - config.base_image_seq_len
            )
            span = config.max_shift - config.base_shift
            factor = math.exp(config.base_shift + position * span)
        else:
            factor = config.shift
        return factor * t / (1 + (factor - 1) * t)

    return shifted
