"""Attention whose gradient is fast on a CPU.

There PyTorch's fused attention has a backward pass of many tiny products, and its plain one keeps
every map of weights and guards its softmax against rows that are masked out entirely. Here the
fused forward pass is followed by a backward pass of five products over whole maps (Dao, 2022,
FlashAttention, algorithm 4, without its tiles): a U-Net's training step takes a sixth less time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention


class TrainedAttention:
    """diffusers' attention processor for the attention of SD's and SDXL's U-Nets: no mask, and no
    norms of its own. Without gradients it computes what diffusers' own does, to the bit.
    """

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(N, tokens, C) attended to itself, or to the words (N, words, D). Raises ValueError for a
        mask.
        """
        if attention_mask is not None:
            raise ValueError("a mask: the U-Nets of SD and SDXL have none.")
        words = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            layer(states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for layer, states in (
                (attn.to_q, hidden_states),
                (attn.to_k, words),
                (attn.to_v, words),
            )
        )
        attended = attention(query, key, value).transpose(1, 2).flatten(2).to(query.dtype)
        out: torch.Tensor = attn.to_out[1](attn.to_out[0](attended))
        return out / attn.rescale_output_factor


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """softmax(Q K^T / sqrt(D)) V of (N, heads, tokens, D) tensors of one dtype, on a CPU."""
    if torch.is_grad_enabled() and query.requires_grad:
        attended: torch.Tensor = _Attention.apply(query, key, value)
        return attended
    return scaled_dot_product_attention(query, key, value)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        out, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value)
        context.save_for_backward(query, key, value, out, log_sum)
        return out

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        query, key, value, out, log_sum = context.saved_tensors
        scale = float(query.shape[-1]) ** -0.5
        shapes = [tensor.shape for tensor in (query, key, value)]
        query, key, value, out, given = (
            tensor.flatten(0, 1) for tensor in (query * scale, key, value, out, gradients[0])
        )
        # (N * heads, tokens, words); log_sum comes as (N, heads, tokens)
        log_sum = log_sum.flatten(0, 1).unsqueeze(-1).to(query.dtype)
        weights = torch.bmm(query, key.transpose(1, 2)).sub_(log_sum).exp_()
        through = torch.bmm(given, value.transpose(1, 2))
        through.sub_((given.float() * out.float()).sum(-1, keepdim=True).to(through.dtype))
        through.mul_(weights)
        return (
            (torch.bmm(through, key) * scale).view(shapes[0]),
            torch.bmm(through.transpose(1, 2), query).view(shapes[1]),
            torch.bmm(weights.transpose(1, 2), given).view(shapes[2]),
        )
