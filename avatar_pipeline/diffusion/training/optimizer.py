"""Optimizers, learning rate, averaged weights, and the state of all as plain tensors and
numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.hyperparameters import OptimizerName

WEIGHT_DECAY = 1e-4
WARM_UP_STEPS = 10


def make_optimizer(
    name: OptimizerName, parameters: Sequence[torch.Tensor], learning_rate: float
) -> torch.optim.Optimizer:
    """Return the optimizer called `name` over `parameters`.

    Raises ModelError when the package of an optional one is missing.
    """
    if name == "adamw":
        return torch.optim.AdamW(
            parameters, lr=learning_rate, weight_decay=WEIGHT_DECAY, fused=True
        )
    if name == "adamw8bit":
        found: Any = optional_package("bitsandbytes", f"optimizer: {name}", "optimizer: adamw")
        return found.optim.AdamW8bit(parameters, lr=learning_rate, weight_decay=WEIGHT_DECAY)
    found = optional_package("prodigyopt", f"optimizer: {name}", "optimizer: adamw")
    # Prodigy finds the step size itself and takes the learning rate as a factor, usually 1. The two
    # switches are what its authors advise for diffusion models (konstmish/prodigy, README); its
    # safeguard keeps the warm-up from being taken for a good step size.
    return found.Prodigy(
        parameters,
        lr=learning_rate,
        weight_decay=WEIGHT_DECAY,
        use_bias_correction=True,
        safeguard_warmup=True,
    )


def learning_rate_factor(step: int, steps: int) -> float:
    """Return the factor for a step: ten steps of warm-up, then a cosine to a tenth."""
    return min(1.0, step / WARM_UP_STEPS) * (0.55 + 0.45 * math.cos(math.pi * step / steps))


class AveragedWeights:
    """The exponential moving average of weights; early on it forgets faster, as diffusers' EMAModel
    does, or the start would stay in it.
    """

    def __init__(self, parameters: Sequence[torch.Tensor], decay: float) -> None:
        self.decay = decay
        self.values = [parameter.detach().clone() for parameter in parameters]

    def update(self, parameters: Sequence[torch.Tensor], step: int) -> None:
        """Take in the weights after `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for value, parameter in zip(self.values, parameters, strict=True):
                value.lerp_(parameter, 1 - decay)

    def swap(self, parameters: Sequence[torch.Tensor]) -> None:
        """Exchange the average and the weights: once to evaluate, once more to go on."""
        with torch.no_grad():
            for value, parameter in zip(self.values, parameters, strict=True):
                kept = parameter.clone()
                parameter.copy_(value)
                value.copy_(kept)


def pack_optimizer(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """An optimizer's state as tensors by name and what JSON can hold."""
    state = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    rest: dict[str, Any] = {"groups": state["param_groups"], "state": {}}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                rest["state"].setdefault(str(index), {})[name] = value
    return tensors, rest


def unpack_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], rest: dict[str, Any]
) -> None:
    """Put back what `pack_optimizer` gave."""
    entries: dict[int, dict[str, Any]] = {
        int(index): dict(values) for index, values in rest["state"].items()
    }
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        entries.setdefault(int(index), {})[name] = value
    groups = [
        {name: tuple(v) if name == "betas" else v for name, v in group.items()}
        for group in rest["groups"]
    ]
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


def gradient_norm(parameters: Sequence[torch.Tensor]) -> float:
    """Clip the gradients to length 1 together; returns the length that they had."""
    return float(torch.nn.utils.clip_grad_norm_(parameters, 1.0))


def optional_package(module: str, setting: str, instead: str) -> Any:
    """Import a package that only some settings need.

    Raises ModelError when it is missing; the message names the setting that wants it, and the one
    that does without.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ModelError(
            f"{setting} needs the package {module}, which cannot be imported ({error}). "
            f"Install it: pip install 'avatar-pipeline[{module}]', or use {instead}."
        ) from error
