"""LoRAs folded into the weights while pictures are drawn: each layer is one product again, not
three.

The weights are kept and put back, so that they are as before to the bit. Layers whose weights are
stored in fewer bits keep their adapters, and so does a model that is brought to the device layer by
layer, whose offloading holds the weights itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import torch


class _Folded:
    """Layers whose adapters are in their weights, and the weights that they had."""

    def __init__(self, part: Any) -> None:
        self.layers = [] if _is_offloaded(part) else _foldable(part)
        self.kept: list[tuple[Any, torch.Tensor]] = []

    def fold(self) -> None:
        import torch

        with torch.no_grad():
            self._fold()

    def _fold(self) -> None:
        for layer in self.layers:
            parameter = layer.get_base_layer().weight
            before = parameter.data
            # a card has no room for them twice; elsewhere the old ones simply stay
            self.kept.append((layer, before if before.device.type == "cpu" else before.cpu()))
            if before.device.type == "cpu":
                parameter.data = before.clone()
            layer.merge()

    def unfold(self) -> None:
        for layer, before in reversed(self.kept):
            parameter = layer.get_base_layer().weight
            parameter.data = before.to(parameter.device)
            layer.merged_adapters.clear()
        self.kept.clear()


_folded: WeakKeyDictionary[Any, _Folded] = WeakKeyDictionary()


@contextmanager
def folded(part: Any) -> Iterator[None]:
    """Fold what adapters a denoiser has into its weights while the block runs. They are as before
    afterwards, to the bit, also after an error.
    """
    if part in _folded:
        yield
        return
    fold = _Folded(part)
    try:
        fold.fold()
        _folded[part] = fold
        yield
    finally:
        _folded.pop(part, None)
        fold.unfold()


@contextmanager
def unfolded(part: Any) -> Iterator[None]:
    """Undo what `folded` has done to `part` while the block runs, which adds another adapter."""
    fold = _folded.get(part)
    if fold is None:
        yield
        return
    fold.unfold()
    try:
        yield
    finally:
        fold.fold()


def _foldable(part: Any) -> list[Any]:
    """The layers with adapters whose weights are stored in the precision that they compute in."""
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    return [
        module
        for module in part.modules()
        if isinstance(module, BaseTunerLayer)
        and hasattr(module, "merge")
        and type(module.get_base_layer().weight) is torch.nn.Parameter
        and module.get_base_layer().weight.dtype in dtypes
    ]


def _is_offloaded(part: Any) -> bool:
    from diffusers.hooks.group_offloading import _is_group_offload_enabled

    return bool(_is_group_offload_enabled(part))
