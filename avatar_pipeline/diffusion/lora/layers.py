"""A file's layers, put together from its tensors, and what each adds to a module's weights."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from avatar_pipeline.diffusion.lora.keys import BUNDLED_WORD, PEFT, split_key
from avatar_pipeline.diffusion.lora.settings import LayerFault, Strength, read_settings

Kind = Literal["LoRA", "LoHa", "LoKr", "difference"]
Tensors = Mapping[str, torch.Tensor]
DIFFERENCES = ("diff", "diff_b", "w_norm", "b_norm")


@dataclass(frozen=True)
class FileLayer:
    """One layer of a file. part, name: as in keys.Key. scale: what the product of its tensors is
    multiplied by; rank, alpha: as PEFT counts them, scale = alpha / rank or, rsLoRA's, alpha /
    sqrt(rank).
    """

    part: str
    name: str
    tensors: Tensors
    rank: int
    alpha: float
    scale: float

    @property
    def kind(self) -> Kind:
        """The mathematics of the layer."""
        if "hada_w1_a" in self.tensors:
            return "LoHa"
        if any(role.startswith("lokr_") for role in self.tensors):
            return "LoKr"
        return "LoRA" if "down" in self.tensors else "difference"


@dataclass(frozen=True)
class LoraFile:
    """layers: of all parts. words: OneTrainer's vectors (n, width) by word and by the encoder's
    name in the file. unknown: tensors that belong to no layer.
    """

    layers: list[FileLayer]
    words: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def read_layers(tensors: Tensors, metadata: Mapping[str, str]) -> LoraFile:
    """Put a file's layers together. Raises LayerFault for one that lacks a tensor or has numbers
    that are none, and for PEFT's without its settings.
    """
    found: dict[tuple[str, str], dict[str, torch.Tensor]] = defaultdict(dict)
    dotted: dict[tuple[str, str], str] = {}
    words: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    unknown, by_peft = [], set[tuple[str, str]]()
    for name, tensor in tensors.items():
        word, key = BUNDLED_WORD.match(name), split_key(name)
        if word is None and key is None:
            unknown.append(name)
            continue
        # 8 and 16 bits are what it is stored in; all of their values are float32's too
        value = tensor if tensor.dtype == torch.float64 else tensor.float()
        is_alpha = key is not None and key.role == "alpha"  # judged where it counts
        if not is_alpha and not torch.isfinite(value).all():
            raise LayerFault(f"the tensor {name} holds values that are no finite numbers")
        if word:
            words[word["word"]][word["encoder"]] = value
        elif key:
            if key.role in found[key.part, key.layer]:
                raise LayerFault(f"the layer {key.dotted} is in it twice, by two names")
            found[key.part, key.layer][key.role] = value
            dotted[key.part, key.layer] = key.dotted
            if name.startswith(PEFT):
                by_peft.add((key.part, key.layer))
    settings = read_settings(metadata)
    if not settings and any("alpha" not in found[place] for place in by_peft):
        raise LayerFault(
            "PEFT has saved it, and its strength is in adapter_config.json beside it, not in this "
            "file. Give the folder that holds both"
        )
    layers = []
    for (part, name), roles in found.items():
        own = settings.get(part)
        layers.append(_layer(part, name, roles, own.of(dotted[part, name]) if own else None))
    return LoraFile(layers, dict(words), unknown)


def _layer(
    part: str, name: str, roles: dict[str, torch.Tensor], settings: Strength | None
) -> FileLayer:
    missing = _missing(roles)
    if missing:
        raise LayerFault(f"the layer {name} lacks {missing}")
    rank = next(
        (
            len(roles[role])
            for role in ("down", "hada_w1_b", "lokr_w1_b", "lokr_w2_b")
            if role in roles
        ),
        0,
    )
    by_root = False
    if "alpha" in roles:
        alpha = float(roles.pop("alpha").item())
        if not rank:
            # LyCORIS' alpha says nothing of LoKr's whole factors and of differences; ai-toolkit
            # gives 9999999999, which is none of float16's numbers
            alpha = rank = 1
        elif not math.isfinite(alpha):
            raise LayerFault(f"the alpha of the layer {name} is no finite number")
    elif settings:
        rank = rank or settings.rank
        alpha, by_root = settings.alpha, settings.by_root
    else:
        alpha = rank = rank or 1
    scale = alpha / (math.sqrt(rank) if by_root else rank)
    if "scalar" in roles:
        scale *= float(roles.pop("scalar").item())
    return FileLayer(part, name, roles, rank, alpha, scale)


def _missing(roles: Tensors) -> str:
    """What a layer lacks, in words; nothing when it is whole."""
    if any(role.startswith("hada_") for role in roles):
        wanted = ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"]
    elif any(role.startswith("lokr_") for role in roles):
        wanted = [
            part
            for name in ("lokr_w1", "lokr_w2")
            if name not in roles
            for part in (f"{name}_a", f"{name}_b")
        ]
    elif any(role in roles for role in DIFFERENCES):
        wanted = []
    else:
        wanted = ["down", "up"]
    return " and ".join(role for role in wanted if role not in roles)


def delta(layer: FileLayer) -> torch.Tensor:
    """What a layer adds to a weight, float32, before any DoRA: (outputs, inputs) or a convolution's
    (outputs, inputs, h, w); a LyCORIS layer's may still have to be given its module's shape.
    """
    t = layer.tensors
    if layer.kind == "LoRA":
        down = _down(t)
        up = t["up"].reshape(len(t["up"]), -1)
        product = (up.double() @ down.reshape(len(down), -1).double()).reshape(-1, *down.shape[1:])
    elif layer.kind == "LoHa":
        product = _half(t, "1") * _half(t, "2")
    elif layer.kind == "LoKr":
        left, right = _whole(t, "lokr_w1"), _whole(t, "lokr_w2", t.get("lokr_t2"))
        left = left.reshape(*left.shape, *[1] * (right.ndim - left.ndim))
        product = torch.kron(left.contiguous(), right.contiguous())
    else:
        product = t["diff"].double()
    return (product * layer.scale).float()


def _down(t: Tensors) -> torch.Tensor:
    """The first factor; LyCORIS' middle one, the kernel of a convolution, is multiplied into it."""
    if "mid" not in t:
        return t["down"]
    down = t["down"].reshape(len(t["down"]), -1).double()
    return torch.einsum("ijkl,jm->imkl", t["mid"].double(), down).float()


def _half(t: Tensors, which: str) -> torch.Tensor:
    left, right = t[f"hada_w{which}_a"].double(), t[f"hada_w{which}_b"].double()
    kernel = t.get(f"hada_t{which}")
    if kernel is None:
        return left @ right
    return torch.einsum("ijkl,jr,ip->prkl", kernel.double(), right, left)


def _whole(t: Tensors, name: str, kernel: torch.Tensor | None = None) -> torch.Tensor:
    if name in t:
        return t[name].double()
    left, right = t[f"{name}_a"].double(), t[f"{name}_b"].double()
    if kernel is None:
        return left @ right
    return torch.einsum("ijkl,jr,ip->prkl", kernel.double(), right, left)


def simplified(layer: FileLayer) -> FileLayer:
    """The layer without a middle factor."""
    if layer.kind != "LoRA" or "mid" not in layer.tensors:
        return layer
    rest = {role: value for role, value in layer.tensors.items() if role != "mid"}
    return replace(layer, tensors={**rest, "down": _down(layer.tensors)})
