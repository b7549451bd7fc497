"""The sampler of a preset, put into its pipeline."""

from __future__ import annotations

import math
from typing import Any

from avatar_pipeline.diffusion.presets import Preset


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
