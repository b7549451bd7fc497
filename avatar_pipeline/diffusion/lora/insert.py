"""Changes put at the modules of a pipeline's part, where PEFT's layers compute them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from math import isclose
from typing import Any

import torch

from avatar_pipeline.diffusion.fp8 import STORAGE
from avatar_pipeline.diffusion.lora.changes import Change
from avatar_pipeline.diffusion.lora.header import ADAPTER
from avatar_pipeline.diffusion.lora.settings import LayerFault

Undo = Callable[[], None]


def insert(part: Any, changes: Sequence[Change]) -> Undo:
    """Put changes at the modules of `part`; return what takes them off again.

    Raises LayerFault when something stands at a module with another strength than it should.
    """
    kept: list[tuple[torch.nn.Parameter, torch.Tensor]] = []

    def undo() -> None:
        remove_adapters(part)
        for parameter, before in kept:
            parameter.data = before.to(parameter.device)
        offload_again(part)

    try:
        with torch.random.fork_rng(devices=[]):  # PEFT fills its layers at random first
            _insert_loras(part, [change for change in changes if change.kind == "LoRA"])
            for change in changes:
                if change.kind in ("LoHa", "LoKr"):
                    _insert_lycoris(part, change)
            if any(_is_adapted(module) for module in part.modules()):
                part._hf_peft_config_loaded = True  # diffusers asks it before it adds others beside
        for change in changes:
            if change.kind == "difference":
                module = _base(part.get_submodule(change.module))
                for name, value in change.tensors.items():
                    parameter = getattr(module, name)
                    kept.append((parameter, parameter.data))
                    parameter.data = parameter.data + value.to(parameter.device, parameter.dtype)
        offload_again(part)
        _check(part, changes)
    except BaseException:
        undo()
        raise
    return undo


def clear(part: Any) -> None:
    """Take off PEFT's layers that a training has left behind, empty. Raises LayerFault when a LoRA
    is in use there.
    """
    if getattr(part, "peft_config", {}) or any(_is_adapted(module) for module in part.modules()):
        raise LayerFault("another LoRA is in use. Use one at a time")
    remove_adapters(part)


def remove_adapters(part: Any) -> None:
    """Take all of PEFT's layers off a part."""
    from diffusers.utils import recurse_remove_peft_layers

    recurse_remove_peft_layers(part)
    if hasattr(part, "peft_config"):
        del part.peft_config
    part._hf_peft_config_loaded = False


def _insert_loras(part: Any, changes: Sequence[Change]) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    if not changes:
        return
    first = changes[0]
    config = LoraConfig(
        r=first.rank,
        lora_alpha=first.alpha,
        target_modules=[change.module for change in changes],
        init_lora_weights=False,
        inference_mode=True,
    )
    # by exact names: a target of the configuration is the end of a name
    names = {f"{change.module}.lora_A.weight": change.tensors["down"] for change in changes}
    inject_adapter_in_model(config, part, adapter_name=ADAPTER, state_dict=names)
    for change in changes:
        module = part.get_submodule(change.module)
        dora = change.magnitudes is not None
        if dora or module.r[ADAPTER] != change.rank:
            own = replace(config, r=change.rank, use_dora=dora)
            module.update_layer(ADAPTER, r=change.rank, lora_alpha=change.alpha, config=own)
        module.lora_alpha[ADAPTER], module.scaling[ADAPTER] = _alpha(change), change.scale
        module.lora_A[ADAPTER].weight = _parameter(change.tensors["down"], module, part)
        module.lora_B[ADAPTER].weight = _parameter(change.tensors["up"], module, part)
        if change.magnitudes is not None:
            vector = module.lora_magnitude_vector[ADAPTER]
            vector.weight = _parameter(change.magnitudes.reshape(vector.weight.shape), module, part)


def _insert_lycoris(part: Any, change: Change) -> None:
    """PEFT makes the tensors of its own settings' shapes: they are the file's instead."""
    from peft import LoHaConfig, LoKrConfig
    from peft.tuners import loha, lokr

    config, kind = (LoHaConfig(r=1), loha) if change.kind == "LoHa" else (LoKrConfig(r=1), lokr)
    config.inference_mode = True
    base = part.get_submodule(change.module)
    layer = kind.Linear if isinstance(base, torch.nn.Linear) else kind.Conv2d
    if change.rows:
        layer = _lokr_of_rows()
    adapter = layer(base, ADAPTER, config=config, r=1, alpha=1.0)
    for name in adapter.adapter_layer_names:
        getattr(adapter, name).clear()
    for name, value in change.tensors.items():
        getattr(adapter, name)[ADAPTER] = _parameter(value, adapter, part)
    adapter.r[ADAPTER], adapter.alpha[ADAPTER] = change.rank, _alpha(change)
    adapter.scaling[ADAPTER] = change.scale
    adapter.rows = change.rows
    adapter.register_forward_pre_hook(_follow_input)
    adapter.train(base.training)
    parent, _, name = change.module.rpartition(".")
    setattr(part.get_submodule(parent), name, adapter)
    if not hasattr(part, "peft_config"):
        part.peft_config = {ADAPTER: config}


@cache
def _lokr_of_rows() -> type:
    from peft.tuners import lokr

    class LoKrOfRows(lokr.Linear):
        """PEFT's LoKr of a layer that shares the rows of the product with others."""

        def get_delta_weight(self, adapter_name: str, **_: Any) -> torch.Tensor:
            def factor(name: str) -> torch.Tensor:
                whole = getattr(self, name)
                if adapter_name in whole:
                    return whole[adapter_name]
                return (
                    getattr(self, f"{name}_a")[adapter_name]
                    @ (getattr(self, f"{name}_b")[adapter_name])
                )

            left, right = factor("lokr_w1"), factor("lokr_w2")
            height, parts = len(right), []
            for start, stop in self.rows:
                first, last = start // height, -(-stop // height)
                product = torch.kron(left[first:last].contiguous(), right.contiguous())
                parts.append(product[start - first * height : stop - first * height])
            return torch.cat(parts) * self.scaling[adapter_name]

    return LoKrOfRows


def _alpha(change: Change) -> float:
    """The alpha from which PEFT computes the scale again, as alpha / rank, when another LoRA is
    put beside: rsLoRA's has another meaning.
    """
    exact = change.alpha / change.rank == change.scale
    return change.alpha if exact else change.scale * change.rank


def _follow_input(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
    """Group offloading moves what lies in layers that are called, and these tensors lie in none."""
    for name in module.adapter_layer_names:
        for parameter in getattr(module, name).values():
            if parameter.device != inputs[0].device:
                parameter.data = parameter.data.to(inputs[0].device)


def _parameter(value: torch.Tensor, module: Any, part: Any) -> torch.nn.Parameter:
    """In the precision that the module computes in; base weights may be stored in fewer bits."""
    weight = module.get_base_layer().weight
    dtype = weight.dtype if weight.is_floating_point() else torch.float32
    dtype = part.dtype if dtype == STORAGE else dtype
    # contiguous and of its own: several modules may share a file's tensor
    value = value.detach().to(weight.device, dtype, copy=True).contiguous()
    return torch.nn.Parameter(value, requires_grad=False)


def _base(module: Any) -> Any:
    return module.get_base_layer() if hasattr(module, "get_base_layer") else module


def _check(part: Any, changes: Sequence[Change]) -> None:
    """Raise LayerFault unless each change stands at its module, in its strength and its shapes."""
    seen: set[str] = set()
    for change in changes:
        if change.kind == "difference":
            continue
        if change.module in seen:
            raise LayerFault(f"the layer {change.module} is in it twice, by two names")
        seen.add(change.module)
        module: Any = part.get_submodule(change.module)
        scale = module.scaling.get(ADAPTER) if _is_adapted(module) else None
        if scale is None or not isclose(scale, change.scale, rel_tol=1e-9):
            raise LayerFault(f"{change.module} would be changed {scale}, not {change.scale} times")
    placed = sum(_is_adapted(module) for module in part.modules())
    if placed != len(seen):
        raise LayerFault(f"{placed} layers would be changed, and it has {len(seen)}")


def _is_adapted(module: Any) -> bool:
    return hasattr(module, "base_layer") and ADAPTER in module.scaling


def offload_again(part: Any) -> None:
    """Tell group offloading which weights a part has now, as diffusers' own loader does."""
    from diffusers.hooks.group_offloading import _maybe_remove_and_reapply_group_offloading

    _maybe_remove_and_reapply_group_offloading(part)
