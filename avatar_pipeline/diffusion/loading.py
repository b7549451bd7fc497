"""Load a preset's pipeline from its folder, as a memory plan says, and refuse a damaged one."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path
from typing import Any

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.core.importing import importing
from avatar_pipeline.diffusion.device import Device
from avatar_pipeline.diffusion.families import get_family
from avatar_pipeline.diffusion.memory import Plan
from avatar_pipeline.diffusion.offload import nf4_config
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.weights import variant_of


def load_pipeline(preset: Preset, folder: Path, device: Device, plan: Plan) -> Any:
    """Return the text-to-image pipeline in `folder`, on the CPU, with the preset's scheduler.

    preset: its `parameters` are those of the folder, in millions by part. plan: decides whether the
    weights are stored in four bits. Raises ModelError for weights that are missing or damaged.
    """
    family = get_family(preset.family)
    with importing():
        import torch

        quiet_libraries()
        import diffusers

        # diffusers loads the bundled model's own autoencoder class only from a module that is
        # already imported: by the address that its model_index.json gives.
        import_module("avatar_pipeline.embedded.autoencoder")
        pipeline_class = getattr(diffusers, family.PIPELINE)
    # SD 1.5's safety checker is left out: it is 1.2 GB more that answers false alarms on plain
    # portraits with a black picture. What is drawn here is one described or consenting person, and
    # every picture goes through the checks of the pipeline.
    extra: dict[str, Any] = (
        {"safety_checker": None, "requires_safety_checker": False} if preset.family == "sd" else {}
    )
    if plan.quantization == "nf4":
        extra["quantization_config"] = nf4_config(family.DENOISER, device.dtype)
    try:
        pipeline = pipeline_class.from_pretrained(
            folder,
            # in bfloat16 flat walls show steps: the VAE stays in float32
            dtype={"vae": torch.float32, "default": device.dtype},
            variant=variant_of(folder, preset.family).lstrip(".") or None,
            local_files_only=True,
            use_safetensors=True,
            **extra,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(
            f"the model in {folder} cannot be loaded: {error}. Fetch or save it again."
        ) from error
    _check_whole(pipeline, preset, folder)
    put_scheduler(pipeline, preset)
    pipeline.set_progress_bar_config(disable=True)
    if family.DENOISER == "unet":
        pipeline.unet.to(memory_format=torch.channels_last)
    return pipeline


def _check_whole(pipeline: Any, preset: Preset, folder: Path) -> None:
    """Raise ModelError when files have fewer weights than their configuration asks for: the
    libraries fill some up at random.
    """
    for part, millions in preset.parameters.items():
        weights = list(getattr(pipeline, part).parameters())
        wanted = sum(tensor.numel() for tensor in weights) / 1e6
        # four bits are packed in bytes
        quantized = any(not tensor.is_floating_point() for tensor in weights)
        if any(tensor.is_meta for tensor in weights) or (
            millions < 0.999 * wanted and not quantized
        ):
            raise ModelError(
                f"the model in {folder} cannot be loaded: the weights of its {part} do not fit its "
                f"configuration, which asks for {wanted:.1f} million numbers; {millions:.1f} are "
                "there. Fetch or save it again."
            )


def put_scheduler(pipeline: Any, preset: Preset) -> None:
    """Give a pipeline the preset's scheduler; "own" leaves the one of the model's folder."""
    if preset.scheduler == "dpmpp_2m_karras":
        from diffusers import DPMSolverMultistepScheduler

        # beta schedule and prediction type stay those that the model was trained with
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
            pipeline.scheduler.config,
            algorithm_type="dpmsolver++",
            solver_order=2,
            use_karras_sigmas=True,
        )
    elif preset.scheduler == "euler_simple":
        from diffusers import FlowMatchEulerDiscreteScheduler

        # FLUX's time shift sigma -> e^mu / (e^mu + 1/sigma - 1) with a constant mu, whatever the
        # size, as ComfyUI's "simple" has it. For the noise levels 1, 1-1/n ... 1/n, which the
        # pipeline hands over, diffusers computes shift * sigma / (1 + (shift - 1) * sigma): the
        # same for shift = e^mu.
        pipeline.scheduler = FlowMatchEulerDiscreteScheduler(
            shift=math.exp(preset.flow_shift), use_dynamic_shifting=False
        )


def quiet_libraries() -> None:
    """Keep the libraries' warnings about what is intended out of the log: no torchvision, an
    autoencoder of our own, a LoRA without a text encoder's part. Errors still come as exceptions.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
