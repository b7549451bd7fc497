"""Apply a memory plan to a loaded pipeline, at first and when stepping down. Weights are never
loaded again for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avatar_pipeline.diffusion.memory import TILE, Plan


def apply_plan(pipelines: Sequence[Any], denoiser: Any, plan: Plan, device: str) -> None:
    """Hold pipelines that share their parts as `plan` says, on `device`; from any plan to one below
    it.

    The VAE stays on the device: our code hands it pictures and latents itself, and it is small.
    """
    for pipeline in pipelines:
        pipeline.remove_all_hooks()
    if plan.quantization == "fp8":
        from avatar_pipeline.diffusion.fp8 import store_in_fp8

        store_in_fp8(denoiser)
    first = pipelines[0]
    if plan.offload == "none":
        first.to(device)
    elif plan.offload == "model":
        for pipeline in pipelines:
            pipeline.model_cpu_offload_seq = pipeline.model_cpu_offload_seq.replace("->vae", "")
            pipeline._exclude_from_cpu_offload = [*pipeline._exclude_from_cpu_offload, "vae"]
            pipeline.enable_model_cpu_offload(device=device)
    else:
        group_offload(first, device)
    if plan.tiling and hasattr(first.vae, "enable_tiling"):
        # diffusers' tiles are as large as the pictures that the VAE was trained on: 1024 pixels in
        # SDXL, which would be no help
        if hasattr(first.vae, "tile_sample_min_height"):  # of a video model
            side = {"tile_sample_min_height": TILE, "tile_sample_min_width": TILE}
            stride = TILE * 3 // 4
            first.vae.enable_tiling(
                **side, tile_sample_stride_height=stride, tile_sample_stride_width=stride
            )
        else:
            cells = 2 ** (len(first.vae.config.block_out_channels) - 1)
            first.vae.tile_sample_min_size, first.vae.tile_latent_min_size = TILE, TILE // cells
            first.vae.enable_tiling()
        first.vae.enable_slicing()


def group_offload(pipeline: Any, device: str) -> None:
    """Keep the weights in main memory and bring each layer to the device when it computes, the next
    one meanwhile on CUDA.
    """
    import torch

    pipeline.to("cpu")
    pipeline.enable_group_offload(
        onload_device=torch.device(device),
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        use_stream=device.startswith("cuda"),
        # pinned only while they travel: the whole of FLUX pinned would be 33 GB of locked memory
        low_cpu_mem_usage=True,
        exclude_modules=["vae"],
    )


def has_nf4(kind: str) -> bool:
    """Whether four-bit weights are possible: bitsandbytes, which is optional, and CUDA."""
    from importlib.util import find_spec

    return kind == "cuda" and find_spec("bitsandbytes") is not None


def nf4_config(denoiser: str, dtype: Any) -> Any:
    """What diffusers needs to load a pipeline with its denoiser in four bits."""
    from diffusers import PipelineQuantizationConfig

    return PipelineQuantizationConfig(
        quant_backend="bitsandbytes_4bit",
        quant_kwargs={
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": dtype,
        },
        components_to_quantize=[denoiser],
    )
