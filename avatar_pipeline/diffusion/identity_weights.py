"""The weights in an IP-Adapter's file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def read_weights(file: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The two groups of an adapter's weights, by the names that diffusers' loaders know; XLabs'
    names for FLUX are translated as there.
    """
    from safetensors.torch import load_file

    prefixes = {
        "image_proj.": 0,
        "ip_adapter_proj_model.": 0,
        "ip_adapter.": 1,
        "double_blocks.": 1,
    }
    renamed = (
        ("ip_adapter_double_stream_k_proj", "to_k_ip"),
        ("ip_adapter_double_stream_v_proj", "to_v_ip"),
        ("processor.", ""),
    )
    groups: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]] = ({}, {})
    for key, tensor in load_file(file).items():
        prefix = next((prefix for prefix in prefixes if key.startswith(prefix)), None)
        if prefix is None:
            raise ValueError(f"it holds {key}, which belongs to no IP-Adapter")
        new = key.removeprefix(prefix)
        for old, now in renamed:
            new = new.replace(old, now)
        groups[prefixes[prefix]][new] = tensor
    return {"image_proj": groups[0], "ip_adapter": groups[1]}


def take_lora(
    denoiser: Any, weights: dict[str, dict[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """Take the LoRA out of the weights: loaded along it would stay on in every picture, and switch
    another LoRA off.
    """
    taken = {
        key: weights["ip_adapter"].pop(key)
        for key in list(weights["ip_adapter"])
        if "_lora." in key
    }
    names = list(denoiser.attn_processors)
    return {
        f"unet.{names[int(key.split('.')[0])]}.{key.split('.', 1)[1]}": tensor
        for key, tensor in taken.items()
    }
