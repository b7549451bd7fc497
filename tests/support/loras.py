"""LoRAs of random weights for tiny pipelines, in diffusers' format and in kohya's, as bytes of
safetensors files.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

RANK, ALPHA = 4, 8


def make_lora(
    folder: Path, targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
) -> bytes:
    """A LoRA for the pipeline saved in `folder`, written by diffusers itself."""
    import torch
    from diffusers import DiffusionPipeline
    from peft import LoraConfig, get_peft_model_state_dict

    pipeline: Any = DiffusionPipeline.from_pretrained(folder, safety_checker=None)
    part = "transformer" if hasattr(pipeline, "transformer") else "unet"
    denoiser = getattr(pipeline, part)
    torch.manual_seed(3)
    denoiser.add_adapter(
        LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(targets), init_lora_weights=False),
        adapter_name="default",
    )
    config = denoiser.peft_config["default"].to_dict() | {"target_modules": list(targets)}
    with tempfile.TemporaryDirectory() as out:
        type(pipeline).save_lora_weights(
            out,
            **{f"{part}_lora_layers": get_peft_model_state_dict(denoiser)},
            **{f"{part}_lora_adapter_metadata": config},
        )
        return (Path(out) / "pytorch_lora_weights.safetensors").read_bytes()


def as_kohya(lora: bytes) -> bytes:
    """The same LoRA with kohya's key names and an alpha tensor a layer."""
    import torch
    from safetensors.torch import load, save

    tensors = {}
    for key, value in load(lora).items():
        part, _, rest = key.partition(".")
        layer, _, side = rest.rpartition(".lora_")
        name = f"lora_{'unet' if part == 'unet' else 'transformer'}_{layer.replace('.', '_')}"
        tensors[f"{name}.lora_{'down' if side.startswith('A') else 'up'}.weight"] = value
        tensors[f"{name}.alpha"] = torch.tensor(float(ALPHA))
    return save(tensors)
