#!/usr/bin/env bash
# After fuse_lora() a LoRA that is switched on beside it has no effect, and set_adapters() neither fails nor warns.
#
# diffusers 0.42.1, peft 0.21.2. A person's LoRA is fused for speed, then a style's is switched on by set_adapters(["style"]) or
# (["person", "style"]): active_adapters() names what was asked for, and the U-Net still computes the person's alone, as PEFT's layers return
# the fused weight's product and look at no adapter while they are merged. (PEFT's own model.set_adapter() warns and unmerges; diffusers sets
# the layers directly.) unfuse_lora() first, or fuse both together. Small random weights show it. Exits 1 when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 peft==0.21.2
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import diffusers
import peft
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig

torch.manual_seed(0)
unet = UNet2DConditionModel(
    sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=4, cross_attention_dim=32,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
).eval()
for name in ("person", "style"):
    lora = LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_v"], init_lora_weights=False)
    unet.add_adapter(lora, adapter_name=name)
noise, words = torch.randn(1, 4, 8, 8), torch.randn(1, 5, 32)


def predicted(*names):
    unet.set_adapters(list(names))
    with torch.no_grad():
        return unet(noise, torch.tensor(500), words, return_dict=False)[0]


def apart(one, other):
    return float((one - other).abs().max())


person, style, both = predicted("person"), predicted("style"), predicted("person", "style")
unet.set_adapters(["person"])
unet.fuse_lora(adapter_names=["person"])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    now = predicted("style")
    named = unet.active_adapters()
    together = predicted("person", "style")
print(f"diffusers {diffusers.__version__}, peft {peft.__version__}")
print(f"  before fusing: style is {apart(style, person):.4f} from person, both together {apart(both, person):.4f}")
print(f"  person fused, style switched on: {apart(now, person):.7f} from person; active_adapters() says {named}")
print(f"  person fused, both switched on: {apart(together, person):.7f} from person; {len(caught)} warnings")
unheard = apart(now, person) < 1e-4 < apart(style, person) and apart(together, person) < 1e-4 < apart(both, person)
sys.exit(0 if unheard and named == ["style"] and not caught else 1)
PYTHON
