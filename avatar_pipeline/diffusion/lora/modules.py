"""The modules of a pipeline's part, found by the names that LoRA files give their layers."""

from __future__ import annotations

from typing import Any, NamedTuple

from avatar_pipeline.diffusion.lora.original_names import sgm_name
from avatar_pipeline.diffusion.lora.transformer_names import FLUX1, FLUX2, Z_IMAGE

Ranges = tuple[tuple[int, int], ...]
# By diffusers' classes.
ORIGINALS = {
    "FluxTransformer2DModel": FLUX1,
    "Flux2Transformer2DModel": FLUX2,
    "ZImageTransformer2DModel": Z_IMAGE,
}
# As diffusers calls them where it has fused them.
FUSED = {
    "to_qkv": ("to_q", "to_k", "to_v"),
    "to_added_qkv": ("add_q_proj", "add_k_proj", "add_v_proj"),
}


class Place(NamedTuple):
    """A module, and which output rows of the file's layer are its own, as ranges one behind the
    other.
    """

    module: str
    rows: Ranges


class ModuleIndex:
    """What a file may call the modules of one part; each name with underscores for the dots."""

    def __init__(self, part: Any) -> None:
        self._part = part
        self._modules = {
            name: module
            for name, module in part.named_modules()
            if name and getattr(module, "weight", None) is not None
        }
        self._places: dict[str, list[str]] = {
            name.replace(".", "_"): [name] for name in self._modules
        }
        self._swapped = ""
        kind = type(part).__name__
        if kind.startswith("UNet"):
            self._add_sgm_names()
        elif kind.endswith("Transformer2DModel"):
            self._add_original_names(kind)
            self._add_fused_names()
        else:  # transformers has dropped "text_model." from CLIP's names; files have it
            for flat, modules in list(self._places.items()):
                other = flat.removeprefix("text_model_")
                self._places.setdefault(other, modules)
                self._places.setdefault(f"text_model_{other}", modules)

    def find(self, layer: str) -> list[Place]:
        """The modules of a layer, more than one where the file has them in one; none when there is
        no such layer here.
        """
        places, first = [], 0
        for name in self._places.get(layer, []):
            rows = int(self._modules[name].weight.shape[0])
            if _is_packed(self._modules[name]):
                rows = self._modules[name].out_features
            half = first + rows // 2
            last = first + rows
            swapped = layer == self._swapped
            ranges: Ranges = ((half, last), (first, half)) if swapped else ((first, last),)
            places.append(Place(name, ranges))
            first = last
        return places

    def module(self, name: str) -> Any:
        """The module of this name."""
        return self._modules[name]

    def _add_sgm_names(self) -> None:
        layers = self._part.config.layers_per_block
        if not isinstance(layers, int):
            return
        for name in self._modules:
            self._places.setdefault(sgm_name(name, layers, self._modules).replace(".", "_"), [name])

    def _add_original_names(self, kind: str) -> None:
        original = ORIGINALS.get(kind)
        if original is None:
            return
        for name, members in original.layers(self._modules):
            if all(member in self._modules for member in members):
                self._places.setdefault(name, list(members))
        self._swapped = original.swapped

    def _add_fused_names(self) -> None:
        for name in list(self._modules):
            attention, _, layer = name.rpartition(".")
            for fused, parts in FUSED.items():
                if layer == parts[0]:
                    flat = f"{attention}.{fused}".replace(".", "_")
                    self._places.setdefault(flat, [f"{attention}.{part}" for part in parts])


def _is_packed(module: Any) -> bool:
    """Whether weights are in four bits, two in a byte: their shape is not the layer's."""
    return not module.weight.is_floating_point()
