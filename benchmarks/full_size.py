"""The published architectures at full size, on the meta device: every shape and no weights. Costs
nothing and needs no download.

Parameters are counted; activations too, operation by operation: what a pass allocates and frees is
added up as the real one would have it. Attention counts as the fused kernels that PyTorch uses on a
GPU, which keep no matrix of scores. What kernels take for themselves (convolution workspaces, the
CUDA context) is not seen: avatar_pipeline/diffusion/memory.py adds it as a reserve.

    python -m benchmarks.full_size          prints the table that memory.py holds
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from avatar_pipeline.diffusion.memory import denoiser_of
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.presets import PRESETS
from avatar_pipeline.diffusion.training.denoiser import target_modules
from benchmarks import full_size_flow
from benchmarks.full_size_parts import BUILDERS, embedded

MIB = 2**20


def build(preset: Preset, part: str) -> torch.nn.Module:
    """One part of a preset's pipeline on the meta device, by the published configuration (for
    `embedded`, its folder's).
    """
    with torch.device("meta"):
        return (
            embedded(preset, part)
            if preset.name == "embedded"
            else BUILDERS[preset.family, part](preset)
        )


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def lora_parameters(preset: Preset, rank: int = 1) -> int:
    """Weights of a LoRA on the preset's targets; proportional to the rank."""
    from peft import LoraConfig

    denoiser: Any = build(preset, denoiser_of(preset))
    with torch.device("meta"):
        denoiser.add_adapter(
            LoraConfig(r=rank, target_modules=target_modules(denoiser, preset.lora.targets))
        )
    return sum(value.numel() for name, value in denoiser.named_parameters() if "lora_" in name)


def drawing(preset: Preset, width: int, height: int) -> int:
    """Peak bytes of activations in one denoising step of one picture, in bfloat16; with guidance a
    U-Net sees it twice.
    """
    # Z-Image's guidance is computed in one pass too.
    twice = denoiser_of(preset) == "unet" or preset.family == "z_image"
    denoiser, inputs = denoiser_and_inputs(preset, width, height, 2 if twice else 1)
    with torch.no_grad():
        return _peak(lambda: denoiser(**inputs))


def vae_decode(preset: Preset, width: int, height: int) -> int:
    """Peak bytes of activations when the VAE decodes one picture in float32."""
    vae: Any = build(preset, "vae").to(torch.float32)
    cell = 16 if preset.name == "embedded" else 8
    video = preset.family == "qwen_image"  # its autoencoder is that of a video model
    channels = vae.config.z_dim if video else vae.config.latent_channels
    latents = torch.empty(1, channels, *[1] * video, height // cell, width // cell, device="meta")
    # its decode looks at values, of which there are none
    decode = vae.to_pictures if preset.name == "embedded" else vae.decode
    with torch.no_grad():
        return _peak(lambda: decode(latents))


def training(preset: Preset, width: int, height: int, checkpointing: bool) -> int:
    """Peak bytes of activations in forward and backward of one picture with a LoRA of rank 1, in
    bfloat16.
    """
    from peft import LoraConfig

    denoiser, inputs = denoiser_and_inputs(preset, width, height, 1)
    denoiser.requires_grad_(False)
    with torch.device("meta"):
        denoiser.add_adapter(
            LoraConfig(r=1, target_modules=target_modules(denoiser, preset.lora.targets))
        )
    if checkpointing:
        denoiser.enable_gradient_checkpointing()
    denoiser.train()

    def work() -> None:
        found = denoiser(**inputs)[0]
        predicted = torch.stack(found) if isinstance(found, list) else found
        predicted.float().pow(2).mean().backward()

    return _peak(work)


def attention_maps(preset: Preset, width: int, height: int) -> tuple[int, int]:
    """Bytes of the weights of the largest attention in bfloat16, which fused kernels never have as
    a whole, for one picture; how many attentions there are.
    """
    sizes = []

    def recorded(query: torch.Tensor, key: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        sizes.append(query[..., 0].numel() * key.shape[-2] * torch.bfloat16.itemsize)
        return torch.empty_like(query)

    denoiser, inputs = denoiser_and_inputs(preset, width, height, 1)
    kernel = patch.object(torch.nn.functional, "scaled_dot_product_attention", recorded)
    with torch.no_grad(), kernel:
        denoiser(**inputs)
    return max(sizes), len(sizes)


def denoiser_and_inputs(
    preset: Preset, width: int, height: int, batch: int
) -> tuple[Any, dict[str, Any]]:
    """A preset's denoiser in bfloat16, and what it is called with for `batch` pictures."""
    denoiser: Any = build(preset, denoiser_of(preset)).to(torch.bfloat16)

    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(shape, device="meta", dtype=torch.bfloat16)

    if (preset.family, "transformer") in full_size_flow.BUILDERS:
        inputs = full_size_flow.denoiser_inputs(preset, denoiser, (width, height), batch, empty)
        return denoiser, inputs
    if preset.family == "flux":
        tokens = (width // 16) * (height // 16)
        return denoiser, {
            "hidden_states": empty(batch, tokens, 64),
            "timestep": empty(batch),
            "guidance": empty(batch) if denoiser.config.guidance_embeds else None,
            "pooled_projections": empty(batch, 768),
            "encoder_hidden_states": empty(batch, 512, 4096),
            "txt_ids": empty(512, 3),
            "img_ids": empty(tokens, 3),
            "return_dict": False,
        }
    cell = 16 if preset.name == "embedded" else 8
    inputs = {
        "sample": empty(batch, denoiser.config.in_channels, height // cell, width // cell),
        "timestep": torch.empty(batch, device="meta"),
        "encoder_hidden_states": empty(batch, 77, denoiser.config.cross_attention_dim),
        "return_dict": False,
    }
    if preset.family == "sdxl":
        inputs["added_cond_kwargs"] = {
            "text_embeds": empty(batch, 1280),
            "time_ids": empty(batch, 6),
        }
    return denoiser, inputs


class _Live(TorchDispatchMode):
    """Bytes of all storages that were made in the block and are still referred to, and the most
    there were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {
            id(leaf.untyped_storage())
            for leaf in tree_leaves((args, kwargs))
            if isinstance(leaf, torch.Tensor)
        }
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf.untyped_storage(), known)
        return out

    def _add(self, storage: Any, known: set[int]) -> None:
        key = id(storage)
        if key in known or key in self._seen:
            return
        size = storage.nbytes()

        def gone(_: Any) -> None:
            self.now -= size
            self._seen.pop(key, None)

        self._seen[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


class _Fused(torch.autograd.Function):
    """Attention as a fused kernel keeps it: queries, keys, values, the result and one number a row;
    no matrix of scores.
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        out = torch.empty_like(query)
        ctx.save_for_backward(
            query, key, value, out, query.new_empty(query.shape[:-1], dtype=torch.float32)
        )
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


def _attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any, **kwargs: Any
) -> torch.Tensor:
    return _Fused.apply(query, key, value)


def _peak(work: Callable[[], Any]) -> int:
    # A patch and not a TorchFunctionMode: checkpointed blocks are computed again within backward,
    # where no such mode is active.
    with (
        _Live() as live,
        patch.object(torch.nn.functional, "scaled_dot_product_attention", _attention),
    ):
        work()
    return live.peak


def main() -> None:
    for preset in PRESETS.values():
        width, height = max(preset.sizes.values(), key=lambda size: size[0] * size[1])
        counted = {
            part: round(parameters(build(preset, part)) / 1e6, 1) for part in preset.parameters
        }
        print(preset.name, counted, f"lora {lora_parameters(preset)} a rank")
        head = preset.sizes["headshot"]
        print(
            f"  drawing {width}x{height}: {drawing(preset, width, height) / MIB:.0f} MiB, ", end=""
        )
        print(
            f"decoding {vae_decode(preset, width, height) / MIB:.0f} MiB; training "
            f"{head[0]}x{head[1]}: ",
            end="",
        )
        print(
            f"{training(preset, *head, False) / MIB:.0f} MiB, checkpointed "
            f"{training(preset, *head, True) / MIB:.0f} MiB; "
            f"largest attention {attention_maps(preset, *head)[0] / MIB:.0f} MiB"
        )


if __name__ == "__main__":
    main()
