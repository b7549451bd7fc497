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

from avatar_pipeline.diffusion.presets import PRESETS, Preset

MIB = 2**20


def build(preset: Preset, part: str) -> torch.nn.Module:
    """One part of a preset's pipeline on the meta device, by the published configuration (for
    `embedded`, its folder's).
    """
    with torch.device("meta"):
        return (
            _embedded(preset, part)
            if preset.name == "embedded"
            else BUILDERS[preset.family, part](preset)
        )


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def lora_parameters(preset: Preset, rank: int = 1) -> int:
    """Weights of a LoRA on the preset's targets; proportional to the rank."""
    from peft import LoraConfig

    denoiser: Any = build(preset, "transformer" if preset.family == "flux" else "unet")
    with torch.device("meta"):
        denoiser.add_adapter(LoraConfig(r=rank, target_modules=list(preset.lora.targets)))
    return sum(value.numel() for name, value in denoiser.named_parameters() if "lora_" in name)


def drawing(preset: Preset, width: int, height: int) -> int:
    """Peak bytes of activations in one denoising step of one picture, in bfloat16; with guidance a
    U-Net sees it twice.
    """
    denoiser, inputs = denoiser_and_inputs(
        preset, width, height, 1 if preset.family == "flux" else 2
    )
    with torch.no_grad():
        return _peak(lambda: denoiser(**inputs))


def vae_decode(preset: Preset, width: int, height: int) -> int:
    """Peak bytes of activations when the VAE decodes one picture in float32."""
    vae: Any = build(preset, "vae").to(torch.float32)
    cell = 16 if preset.name == "embedded" else 8
    latents = torch.empty(
        1, vae.config.latent_channels, height // cell, width // cell, device="meta"
    )
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
        denoiser.add_adapter(LoraConfig(r=1, target_modules=list(preset.lora.targets)))
    if checkpointing:
        denoiser.enable_gradient_checkpointing()
    denoiser.train()
    return _peak(lambda: denoiser(**inputs)[0].float().pow(2).mean().backward())


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
    denoiser: Any = build(preset, "transformer" if preset.family == "flux" else "unet").to(
        torch.bfloat16
    )

    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(shape, device="meta", dtype=torch.bfloat16)

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
    inputs: dict[str, Any] = {
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


def _embedded(preset: Preset, part: str) -> torch.nn.Module:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from avatar_pipeline.diffusion.patch_autoencoder import PatchAutoencoder

    folder = f"{preset.model}/{part}"
    if part == "text_encoder":
        return CLIPTextModel(CLIPTextConfig.from_pretrained(folder))
    kind: Any = UNet2DConditionModel if part == "unet" else PatchAutoencoder
    return kind.from_config(kind.load_config(folder))


def _sd_unet(preset: Preset) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(sample_size=64, cross_attention_dim=768)


def _sdxl_unet(preset: Preset) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
        use_linear_projection=True,
    )


def _flux_transformer(preset: Preset) -> Any:
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(guidance_embeds=preset.name == "flux-dev")


def _vae(preset: Preset) -> Any:
    from diffusers import AutoencoderKL

    flux: dict[str, Any] = {
        "latent_channels": 16,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    }
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        sample_size=1024,
        **(flux if preset.family == "flux" else {"latent_channels": 4}),
    )


def _clip_large(preset: Preset) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            projection_dim=768,
        )
    )


def _clip_big(preset: Preset) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            hidden_size=1280,
            intermediate_size=5120,
            num_hidden_layers=32,
            num_attention_heads=20,
            projection_dim=1280,
        )
    )


def _t5(preset: Preset) -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=32128,
            d_model=4096,
            d_ff=10240,
            d_kv=64,
            num_heads=64,
            num_layers=24,
            feed_forward_proj="gated-gelu",
        )
    )


BUILDERS: dict[tuple[str, str], Callable[[Preset], Any]] = {
    ("sd", "unet"): _sd_unet,
    ("sd", "text_encoder"): _clip_large,
    ("sd", "vae"): _vae,
    ("sdxl", "unet"): _sdxl_unet,
    ("sdxl", "text_encoder"): _clip_large,
    ("sdxl", "text_encoder_2"): _clip_big,
    ("sdxl", "vae"): _vae,
    ("flux", "transformer"): _flux_transformer,
    ("flux", "text_encoder"): _clip_large,
    ("flux", "text_encoder_2"): _t5,
    ("flux", "vae"): _vae,
}


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
