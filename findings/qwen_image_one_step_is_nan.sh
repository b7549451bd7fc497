#!/usr/bin/env bash
# diffusers' flow sampler with Qwen-Image's configuration gives NaN for a drawing of one step, without an error.
#
# diffusers 0.42.1. Qwen-Image's scheduler has shift_terminal 0.02: the noise levels are stretched so that the last one is that. With one step the last level is the
# first, 1, whose distance from 1 is divided by itself: 0 / 0. numpy prints a RuntimeWarning, and the pipeline goes on and gives a picture of NaN, which is black.
# Two steps are right. Exits 1 when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 diffusers==0.42.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import diffusers
import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

scheduler = FlowMatchEulerDiscreteScheduler(
    base_shift=0.5, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02, use_dynamic_shifting=True
)
levels = {}
for steps in (1, 2):
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=0.8)  # as QwenImagePipeline calls it
    levels[steps] = scheduler.sigmas
    print(f"diffusers {diffusers.__version__}, {steps} step(s): noise levels {[round(float(level), 3) for level in scheduler.sigmas]}")
scheduler.set_timesteps(sigmas=np.linspace(1.0, 1.0, 1), mu=0.8)
scheduler.set_begin_index(0)
drawn = scheduler.step(torch.zeros(1, 4), scheduler.timesteps[0], torch.ones(1, 4), return_dict=False)[0]
print(f"  latents after the one step: {drawn[0].tolist()}")
sys.exit(0 if levels[1].isnan().any() and drawn.isnan().all() and not levels[2].isnan().any() else 1)
PYTHON
