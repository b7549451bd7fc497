#!/usr/bin/env bash
# Under autocast a frozen U-Net's weights are cast to bfloat16 again at every denoising step; with requires_grad_(True), under no_grad, once.
#
# torch 2.13.0, diffusers 0.42.1. autocast keeps the casts of a block for reuse ("weight cache"), but only of tensors that require gradients,
# also where no gradients are computed. A denoiser that was frozen, as every LoRA trainer and from_pretrained user does with requires_grad_(False),
# is therefore cast again in each of the steps of a drawing: on a CPU a good part of the time of one picture. The cache counts in one block
# around all steps. Counted here, not timed: casts from float32 to bfloat16 of a U-Net's own weights. Exits 1 when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 diffusers==0.42.1 transformers==5.23.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import diffusers
import torch
from diffusers import UNet2DConditionModel
from torch.utils._python_dispatch import TorchDispatchMode

STEPS = 4
torch.manual_seed(0)
unet = UNet2DConditionModel(
    sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=4, cross_attention_dim=32,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
).eval()
weights = {parameter.data_ptr() for parameter in unet.parameters()}
noise, words = torch.randn(1, 4, 8, 8), torch.randn(1, 5, 32)


class Casts(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._to_copy.default and args[0].data_ptr() in weights:
            self.count += 1
        return function(*args, **(kwargs or {}))


def casts(frozen):
    unet.requires_grad_(not frozen)
    with Casts() as counted, torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for step in range(STEPS):
            unet(noise, torch.tensor(900 - 200 * step), words)
    return counted.count


frozen, trainable = casts(True), casts(False)
print(f"torch {torch.__version__}, diffusers {diffusers.__version__}: {STEPS} steps under autocast and no_grad")
print(f"  weights that are frozen: {frozen} casts; weights that require gradients: {trainable}")
sys.exit(0 if trainable and frozen == STEPS * trainable else 1)
PYTHON
