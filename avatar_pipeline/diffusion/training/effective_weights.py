"""LoRA layers that are computed as one product with the effective weights, W + scale * B A, as they
are when pictures are drawn.

On a CPU an adapter's own products are small, and the many passes over activations around them cost
more than the gradient of the whole weight matrix, from which those of A and B follow. On a GPU they
do not, and the whole gradient would take memory.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import Conv2d, Linear
from torch.nn.functional import linear

from avatar_pipeline.diffusion.lora import ADAPTER


def use_effective_weights(denoiser: Any) -> int:
    """Have the plain LoRA layers of a denoiser, without DoRA, computed so; returns how many. It
    ends when the adapters are taken off.
    """
    layers = [
        module
        for module in denoiser.modules()
        if isinstance(module, Linear | Conv2d)
        and ADAPTER in module.lora_A
        and ADAPTER not in module.lora_magnitude_vector
        and module.get_base_layer().weight.dtype == torch.float32
    ]
    for layer in layers:
        forward = _linear if isinstance(layer, Linear) else _convolution
        layer.forward = MethodType(forward, layer)
    return len(layers)


def _factors(layer: Any) -> tuple[torch.Tensor, torch.Tensor, float]:
    down, up = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    return down.flatten(1), up.flatten(1), layer.scaling[ADAPTER]


def _linear(self: Any, x: torch.Tensor) -> torch.Tensor:
    base = self.get_base_layer()
    if self.merged or self.disable_adapters:
        return base(x)
    down, up, scale = _factors(self)
    return linear(x, torch.addmm(base.weight, up, down, alpha=scale), base.bias)


def _convolution(self: Any, x: torch.Tensor) -> torch.Tensor:
    base = self.get_base_layer()
    if self.merged or self.disable_adapters:
        return base(x)
    down, up, scale = _factors(self)
    change = torch.mm(up, down).view_as(base.weight)
    weight = torch.add(base.weight, change, alpha=scale)
    return base._conv_forward(x, weight, base.bias)
