"""The tensors of one layer of a LoRA file, and what they add to its weight, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

Random = torch.Generator
Rounding = Callable[[torch.Tensor], torch.Tensor]


class Factors(NamedTuple):
    """Tensors by sd-scripts' and LyCORIS' names, and the product of them."""

    tensors: dict[str, torch.Tensor]
    added: torch.Tensor


# Of a layer's weights (float64), random numbers and the layer's number in the file.
Make = Callable[[torch.Tensor, Random, int], Factors]


def _random(random: Random, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=random) * 0.3


def lora(
    rank: int | None = 4,
    alpha: float | None = 2.0,
    middle: bool = False,
    stored: torch.dtype = torch.float32,
) -> Make:
    """rank, alpha: None for ones that differ from layer to layer; alpha 0 for none in the file.
    middle: LyCORIS' third factor of convolutions. stored: the file's precision.
    """

    def make(base: torch.Tensor, random: Random, number: int) -> Factors:
        own = rank if rank is not None else 1 + number % 5
        strength = alpha if alpha is not None else (1.0, 0.5, 3.0, 7.0, 16.0)[number % 5]
        outputs, inputs, *kernel = base.shape
        parted = middle and kernel not in ([], [1, 1])
        down = _random(random, own, inputs, *([1, 1] if parted else kernel)).to(stored)
        up = _random(random, outputs, own, *[1 for _ in kernel]).to(stored)
        tensors = {"lora_down.weight": down, "lora_up.weight": up}
        first = down.double()
        if parted:
            kernels = _random(random, own, own, *kernel).to(stored)
            tensors["lora_mid.weight"] = kernels
            first = torch.einsum("rshw,si->rihw", kernels.double(), first[:, :, 0, 0])
        scale = 1.0
        if strength:
            tensors["alpha"] = torch.tensor(strength)
            scale = strength / own
        product = torch.einsum("or,r...->o...", up.double().reshape(outputs, own), first)
        return Factors(tensors, scale * product)

    return make


def loha(rank: int = 3, alpha: float = 2.0, kernels: bool = False) -> Make:
    """LyCORIS' Hadamard product. kernels: convolutions in three factors each."""

    def make(base: torch.Tensor, random: Random, number: int) -> Factors:
        outputs, inputs, *kernel = base.shape
        tensors: dict[str, torch.Tensor] = {"alpha": torch.tensor(alpha)}
        halves = []
        for which in "12":
            if kernels and kernel not in ([], [1, 1]):
                t, a, b = (
                    _random(random, rank, rank, *kernel),
                    _random(random, rank, outputs),
                    _random(random, rank, inputs),
                )
                tensors[f"hada_t{which}"] = t
                halves.append(torch.einsum("rshw,ro,si->oihw", t.double(), a.double(), b.double()))
            else:
                a, b = (
                    _random(random, outputs, rank),
                    _random(random, rank, base[0].numel()),
                )
                halves.append((a.double() @ b.double()).reshape(base.shape))
            tensors |= {f"hada_w{which}_a": a, f"hada_w{which}_b": b}
        return Factors(tensors, alpha / rank * halves[0] * halves[1])

    return make


def lokr(factor: int = 4, rank: int = 0, alpha: float = 2.0, kernels: bool = False) -> Make:
    """LyCORIS' Kronecker product: a factor x factor matrix, and the rest whole (rank 0), in two
    factors, or a convolution's in three.
    """

    def make(base: torch.Tensor, random: Random, number: int) -> Factors:
        outputs, inputs, *kernel = base.shape
        rows = factor if outputs % factor == 0 else 1
        columns = factor if inputs % factor == 0 else 1
        height, width = outputs // rows, inputs // columns
        left = _random(random, rows, columns)
        tensors = {"lokr_w1": left, "alpha": torch.tensor(alpha)}
        scale = 1.0
        if not rank:
            right = _random(random, height, width, *kernel)
            tensors["lokr_w2"] = right
            whole = right.double()
        else:
            scale = alpha / rank
            if kernels and kernel not in ([], [1, 1]):
                t, a, b = (
                    _random(random, rank, rank, *kernel),
                    _random(random, rank, height),
                    _random(random, rank, width),
                )
                tensors["lokr_t2"] = t
                whole = torch.einsum("rshw,ro,si->oihw", t.double(), a.double(), b.double())
            else:
                area = base[0, 0].numel()
                a, b = _random(random, height, rank), _random(random, rank, width * area)
                whole = (a.double() @ b.double()).reshape(height, width, *kernel)
            tensors |= {"lokr_w2_a": a, "lokr_w2_b": b}
        # row (i, k), column (j, l): left[i, j] * whole[k, l]
        product = torch.einsum("ij,kl...->ikjl...", left.double(), whole)
        return Factors(tensors, scale * product.reshape(base.shape))

    return make


def dora(make: Make, by_output: bool = True) -> Make:
    """The layer weight-decomposed (arXiv 2402.09353): lengths of rows or, which LyCORIS and
    OneTrainer have too, of columns.
    """

    def decomposed(base: torch.Tensor, random: Random, number: int) -> Factors:
        tensors, added = make(base, random, number)
        axis = 0 if by_output else 1
        others = [dimension for dimension in range(base.ndim) if dimension != axis]
        length = base.square().sum(others, keepdim=True).sqrt().float()
        magnitudes = length * (1 + 0.2 * torch.rand(length.shape, generator=random))
        moved = base + added
        norm = moved.square().sum(others, keepdim=True).sqrt()
        whole = moved / norm * magnitudes.double()
        return Factors({**tensors, "dora_scale": magnitudes}, whole - base)

    return decomposed


def difference() -> Make:
    """A whole weight's difference, LyCORIS' "full"."""

    def make(base: torch.Tensor, random: Random, number: int) -> Factors:
        added = _random(random, *base.shape)
        return Factors({"diff": added}, added.double())

    return make
