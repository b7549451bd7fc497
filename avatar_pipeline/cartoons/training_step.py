"""One step of a cartoon GAN's training: learning rates, anchor, the discriminator's noise, the
average that is kept.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avatar_pipeline.cartoons.attributes import Size
from avatar_pipeline.cartoons.networks import Discriminator, Generator

# The anchor alone takes a third of the time of a full step, and at 1e-3 shapes and colours are
# there after some thousand.
ANCHOR_SHARE = 0.625
ANCHOR_RATE, RATE = 1e-3, 2e-4  # 2e-4 and the first beta: the DCGAN paper's
BETAS = (0.5, 0.999)
# At 50 the discriminator's pull outweighs the anchor's, and pictures get worse from its first steps
# on (MODEL_CARD.md); at 300 they stand still.
ANCHOR_WEIGHT = 1000.0
# Noise on what the discriminator sees, real and drawn alike (Arjovsky and Bottou 2017): without it
# it wins by the drawn pictures' tiny unevenness where DiceBear's are flat, 95 % classified right,
# and teaches nothing but more of it.
NOISE = 0.1
AVERAGE = 0.999


@dataclass
class State:
    """Everything that training changes."""

    generator: nn.Module
    average: nn.Module
    discriminator: nn.Module
    generator_steps: torch.optim.Optimizer
    discriminator_steps: torch.optim.Optimizer
    step: int = 0


def begin(size: Size, seed: int, device: str) -> State:
    """Return the state before the first step, from the seed."""
    torch.manual_seed(seed)
    generator, discriminator = Generator(size), Discriminator(size)
    for network in (generator, discriminator):
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(generator).requires_grad_(False).eval()
    return State(
        generator,
        average,
        discriminator,
        torch.optim.Adam(generator.parameters(), ANCHOR_RATE, BETAS),
        torch.optim.Adam(discriminator.parameters(), RATE, BETAS),
    )


def train_step(state: State, real: Tensor, hot: Tensor, steps: int) -> dict[str, float]:
    """Return one step of both networks; their losses."""
    first = round(steps * ANCHOR_SHARE)
    adversarial = state.step >= first
    share = (state.step - first) / max(1, steps - first) if adversarial else 0.0
    # From full to a tenth along a cosine: the last steps settle what the earlier ones have found.
    rate = (RATE if adversarial else ANCHOR_RATE) * (0.55 + 0.45 * math.cos(math.pi * share))
    for optimizer in (state.generator_steps, state.discriminator_steps):
        for group in optimizer.param_groups:
            group["lr"] = rate
    state.generator.train()
    losses = {}
    with torch.autocast(real.device.type, torch.bfloat16):
        fake = state.generator(hot)
    if adversarial:
        seen = torch.cat([real, fake.detach().to(real.dtype)])
        with torch.autocast(real.device.type, torch.bfloat16):
            logits = state.discriminator(_noisy(seen, state.step), torch.cat([hot, hot])).float()
        truth = torch.cat([torch.ones(len(real)), torch.zeros(len(real))]).to(logits.device)
        loss = F.binary_cross_entropy_with_logits(logits, truth)
        _update(state.discriminator_steps, loss)
        losses["discriminator"] = loss.item()
        losses["told_right"] = float(((logits > 0) == (truth > 0.5)).float().mean())
    anchor = F.l1_loss(fake.float(), real)
    losses["difference"] = anchor.item()
    loss = ANCHOR_WEIGHT * anchor
    if adversarial:
        with torch.autocast(real.device.type, torch.bfloat16):
            logits = state.discriminator(_noisy(fake.float(), steps + state.step), hot).float()
        fooled = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
        losses["generator"] = fooled.item()
        loss = loss + fooled
    _update(state.generator_steps, loss)
    _keep_average(state)
    return losses


def _noisy(pictures: Tensor, seed: int) -> Tensor:
    """Return what the discriminator sees of pictures. Like the choice of pictures, a step's noise
    is its own, drawn on the CPU.
    """
    source = torch.Generator().manual_seed(seed)
    return pictures + NOISE * torch.randn(pictures.shape, generator=source).to(pictures.device)


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def _keep_average(state: State) -> None:
    """Let the average follow; faster in the beginning, when the generator is still far from
    anything.
    """
    keep = min(AVERAGE, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        for kept, now in zip(
            state.average.state_dict().values(), state.generator.state_dict().values(), strict=True
        ):
            if kept.is_floating_point():
                kept.lerp_(now, 1 - keep)
            else:
                kept.copy_(now)
