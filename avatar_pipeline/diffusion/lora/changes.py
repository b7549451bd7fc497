"""What a file's layer changes at which modules: tensors of the shapes that the modules need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch

from avatar_pipeline.diffusion.fp8 import STORAGE
from avatar_pipeline.diffusion.lora.layers import FileLayer, Kind, Tensors, delta, simplified
from avatar_pipeline.diffusion.lora.modules import ModuleIndex, Place, Ranges
from avatar_pipeline.diffusion.lora.settings import LayerFault

ROOM = "Use a device with more memory, where the model is held as it is, or a plain LoRA."


@dataclass(frozen=True)
class Change:
    """What is put at one module. tensors: by their roles in the file; of the kind "difference" by
    the parameters that they are added to, "weight" or "bias". magnitudes: DoRA's, one an output.
    rows: the module's of a LoKr's product, where it has not all of them.
    """

    module: str
    kind: Kind
    tensors: Tensors
    rank: int = 1
    alpha: float = 1.0
    scale: float = 1.0
    magnitudes: torch.Tensor | None = None
    rows: Ranges = ()


def changes_of(layer: FileLayer, index: ModuleIndex, whole_dora: bool) -> list[Change]:
    """The changes of a layer, one for each of its modules; none when it has no module here.

    whole_dora: DoRA's are to be computed now, into a weight's difference, because base weights do
    not lie on the device when layers compute. Raises LayerFault for shapes that do not fit, and for
    what the modules cannot take.
    """
    places = index.find(layer.name)
    if not places:
        return []
    if layer.kind == "difference":
        return _differences(layer, index, places)
    modules = [index.module(place.module) for place in places]
    if not all(isinstance(module, torch.nn.Linear | torch.nn.Conv2d) for module in modules):
        raise LayerFault(f"{layer.name} is no linear layer and no convolution")
    shape = _shape(index, places)
    layer = simplified(layer)
    _check_shape(layer, shape)
    magnitudes = layer.tensors.get("magnitude_vector", layer.tensors.get("dora_scale"))
    if magnitudes is not None:
        by_output = "magnitude_vector" in layer.tensors or len(magnitudes) == shape[0]
        if magnitudes.numel() != (shape[0] if by_output else shape[1]):
            raise LayerFault(f"{layer.name} has {magnitudes.numel()} of DoRA's magnitudes")
        if not all(_is_readable(module) for module in modules):
            raise LayerFault(f"it is a DoRA, and the model is held in 8 or 4 bits. {ROOM}")
        if whole_dora or not by_output or layer.kind != "LoRA":
            base = _base(index, places, shape)
            added = delta(layer).reshape(shape).double()
            decomposed = _decomposed(base + added, magnitudes.double(), by_output)
            return _dense((decomposed - base).float(), places)
    if layer.kind == "LoRA":
        return [_lora(layer, place, shape, magnitudes) for place in places]
    if any(not module.weight.is_floating_point() for module in modules):
        raise LayerFault(f"it is a {layer.kind}, and the model is held in 4 bits. {ROOM}")
    return [_lycoris(layer, place, whole=len(places) == 1) for place in places]


def _shape(index: ModuleIndex, places: Sequence[Place]) -> tuple[int, ...]:
    """The shape of the layer's weight in the file: its modules' one below the other."""
    first = index.module(places[0].module)
    rest = (
        (first.in_features,)
        if isinstance(first, torch.nn.Linear)
        else tuple(first.weight.shape[1:])
    )
    return (max(stop for place in places for _, stop in place.rows), *rest)


def _check_shape(layer: FileLayer, shape: tuple[int, ...]) -> None:
    t, (outputs, *rest) = layer.tensors, shape
    if layer.kind == "LoRA":
        fits = t["up"].numel() == outputs * layer.rank
        fits = fits and t["down"].numel() == layer.rank * prod(rest) and len(t["up"]) == outputs
        has = f"{len(t['up'])} outputs of {t['down'][0].numel()} inputs"
    else:
        try:
            shapes = {role: value.to("meta") for role, value in t.items()}
            added = delta(replace(layer, tensors=shapes))
        except RuntimeError as error:
            raise LayerFault(f"{layer.name}: its tensors do not fit each other: {error}") from None
        fits = added.numel() == prod(shape) and len(added) == outputs
        has = f"{len(added)} outputs of {added[0].numel()} inputs"
    if not fits:
        raise LayerFault(f"{layer.name} has {has}, and the model's layer {outputs} of {prod(rest)}")


def _rows(tensor: torch.Tensor, ranges: Ranges) -> torch.Tensor:
    if ranges == ((0, len(tensor)),):
        return tensor
    return torch.cat([tensor[start:stop] for start, stop in ranges])


def _lora(
    layer: FileLayer, place: Place, shape: tuple[int, ...], magnitudes: torch.Tensor | None
) -> Change:
    up = layer.tensors["up"].reshape(shape[0], layer.rank, *[1] * (len(shape) - 2))
    tensors = {
        "down": layer.tensors["down"].reshape(layer.rank, *shape[1:]),
        "up": _rows(up, place.rows),
    }
    own = None if magnitudes is None else _rows(magnitudes.reshape(-1), place.rows)
    return Change(place.module, "LoRA", tensors, layer.rank, layer.alpha, layer.scale, own)


def _lycoris(layer: FileLayer, place: Place, whole: bool) -> Change:
    """The factors of a module's own rows. Those of a Kronecker product cannot be cut out of its
    factors everywhere: what computes it knows the rows.
    """
    tensors: Mapping[str, torch.Tensor] = {
        role: value for role, value in layer.tensors.items() if role.startswith(("hada_", "lokr_"))
    }
    change = Change(place.module, layer.kind, tensors, layer.rank, layer.alpha, layer.scale)
    if whole and len(place.rows) == 1:
        return change
    if layer.kind == "LoKr":
        return replace(change, rows=place.rows)
    cut = ("hada_w1_a", "hada_w2_a")
    return replace(
        change,
        tensors={
            role: _rows(value, place.rows) if role in cut else value
            for role, value in tensors.items()
        },
    )


def _differences(layer: FileLayer, index: ModuleIndex, places: Sequence[Place]) -> list[Change]:
    """Whole weights: those of linear layers and convolutions as a LoRA of full rank, which leaves
    the base weights alone; norms and biases, which are small, as they are.
    """
    changes = []
    for role, parameter in (
        ("diff", "weight"), ("w_norm", "weight"), ("diff_b", "bias"), ("b_norm", "bias")
    ):  # fmt: skip
        value = layer.tensors.get(role)
        if value is None:
            continue
        first = index.module(places[0].module)
        if role == "diff" and isinstance(first, torch.nn.Linear | torch.nn.Conv2d):
            shape = _shape(index, places)
            if value.numel() != prod(shape) or len(value) != shape[0]:
                raise LayerFault(f"{layer.name} is {tuple(value.shape)}, and the model's {shape}")
            changes += _dense(value.reshape(shape), places)
            continue
        for place in places:
            own, there = (
                _rows(value, place.rows),
                getattr(index.module(place.module), parameter, None),
            )
            if there is None or own.numel() != there.numel():
                raise LayerFault(f"{layer.name} has no {parameter} of {own.numel()} numbers")
            changes.append(
                Change(place.module, "difference", {parameter: own.reshape(there.shape)})
            )
    return changes


def _dense(whole: torch.Tensor, places: Sequence[Place]) -> list[Change]:
    """A weight's difference as a LoRA of full rank."""
    changes = []
    for place in places:
        own = _rows(whole, place.rows)
        outputs = len(own)
        if own.ndim == 2 and own.shape[1] < outputs:
            down, up = torch.eye(own.shape[1]), own
        else:
            down, up = own, torch.eye(outputs).reshape(outputs, outputs, *[1] * (own.ndim - 2))
        rank = len(down)
        changes.append(Change(place.module, "LoRA", {"down": down, "up": up}, rank, float(rank)))
    return changes


def _base(index: ModuleIndex, places: Sequence[Place], shape: tuple[int, ...]) -> torch.Tensor:
    """The weights of the layer's modules, as the file's layer has them."""
    base = torch.empty(shape, dtype=torch.float64)
    for place in places:
        weight = index.module(place.module).weight.detach().to("cpu", torch.float64)
        first = 0
        for start, stop in place.rows:
            base[start:stop] = weight[first : first + stop - start]
            first += stop - start
    return base


def _decomposed(weight: torch.Tensor, magnitudes: torch.Tensor, by_output: bool) -> torch.Tensor:
    """A weight whose rows (outputs) or columns (inputs) have these lengths (arXiv 2402.09353)."""
    axis = 0 if by_output else 1
    others = [dimension for dimension in range(weight.ndim) if dimension != axis]
    shape = [-1 if dimension == axis else 1 for dimension in range(weight.ndim)]
    length = weight.square().sum(dim=others, keepdim=True).sqrt()
    return weight * (magnitudes.reshape(shape) / length)


def _is_readable(module: torch.nn.Module) -> bool:
    weight: torch.Tensor = module.weight  # type: ignore[assignment]
    return bool(weight.is_floating_point() and weight.dtype != STORAGE)
