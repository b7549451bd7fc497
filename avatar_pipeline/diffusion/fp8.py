"""A denoiser with its weights stored in eight bits, half of bfloat16, through which it draws and
gradients still flow.

diffusers' layerwise casting stores weights so too, but casts them back down after the forward pass,
before the backward pass has read
them: "expected scalar type Float but found Float8_e4m3fn" (diffusers 0.42). Here the eight bits are
what is kept for the backward pass.
"""

from __future__ import annotations

import re
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn import functional, grad

STORAGE = torch.float8_e4m3fn
# Only what lies in the repeated blocks: embeddings and the last layer are small, and they are the
# ones whose rounding one sees (as diffusers leaves them out of layerwise casting).
BLOCKS = re.compile(
    r"(^|\.)(down_blocks|mid_block|up_blocks|transformer_blocks|single_transformer_blocks"
    r"|layers|noise_refiner|context_refiner)\."  # of Z-Image
)


def store_in_fp8(denoiser: nn.Module) -> int:
    """Convert, in place, the frozen linear and convolution weights of the blocks; returns how many.
    LoRA weights stay as they are.
    """
    count = 0
    for name, module in denoiser.named_modules():
        if (
            ".lora_" in name
            or not BLOCKS.search(name)
            or not isinstance(module, (nn.Linear, nn.Conv2d))
        ):
            continue
        if module.weight.dtype == STORAGE:
            continue
        module.weight.requires_grad_(False)
        module.weight.data = module.weight.data.to(STORAGE)
        forward = _linear if isinstance(module, nn.Linear) else _convolution
        module.forward = MethodType(forward, module)  # type: ignore[method-assign]
        count += 1
    return count


def _linear(self: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return _Linear.apply(x, self.weight, self.bias)


def _convolution(self: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    return _Convolution.apply(
        x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
    )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(weight)
        return functional.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        (weight,) = ctx.saved_tensors
        return gradient @ weight.to(gradient.dtype), None, None


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *how: Any
    ) -> torch.Tensor:  # how: stride, padding, dilation, groups
        ctx.save_for_backward(weight)
        ctx.shape, ctx.how = x.shape, how
        return functional.conv2d(
            x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), *how
        )

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        (weight,) = ctx.saved_tensors
        inner = grad.conv2d_input(ctx.shape, weight.to(gradient.dtype), gradient, *ctx.how)
        return inner, None, None, None, None, None, None


def is_fp8(denoiser: nn.Module) -> bool:
    """Whether a denoiser's weights are stored in 8 bits."""
    return any(parameter.dtype == STORAGE for parameter in denoiser.parameters())
