#!/usr/bin/env bash
# diffusers gives a kohya LoRA's attention layers one alpha for all when alpha differs by layer, and loads the file without an error.
#
# diffusers 0.42.1, peft 0.21.2. Files whose alpha differs by layer (resized ones, dynamic ranks, mixes of LoCon) are ordinary for kohya's
# sd-scripts. load_lora_weights reads their alphas into an alpha_pattern whose names still have the "processor" of diffusers' attention
# processors of 2023 in them, which matches no module: those layers get the default. All that is said is a RuntimeWarning of PEFT's
# ("alpha_pattern keys did not match any targeted module"). No weights are needed: small random ones show it. Exits 1 when the behaviour changes.
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
from diffusers.loaders import StableDiffusionLoraLoaderMixin

torch.manual_seed(0)
unet = UNet2DConditionModel(
    sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=4, cross_attention_dim=32,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
)
layers = [name for name, _ in unet.named_modules() if name.endswith((".to_q", ".to_v", ".to_out.0", ".net.2"))]
rank, file, wanted = 4, {}, {}
for number, name in enumerate(layers):
    weight = unet.get_submodule(name).weight
    key = "lora_unet_" + name.replace(".", "_")
    alpha = float(1 + number % 4)
    file[f"{key}.lora_down.weight"] = torch.randn(rank, weight.shape[1])
    file[f"{key}.lora_up.weight"] = torch.randn(weight.shape[0], rank)
    file[f"{key}.alpha"] = torch.tensor(alpha)
    wanted[name] = alpha / rank
state, alphas = StableDiffusionLoraLoaderMixin.lora_state_dict(file, unet_config=unet.config)[:2]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    StableDiffusionLoraLoaderMixin.load_lora_into_unet(state, alphas, unet, adapter_name="kohya")
warned = any("alpha_pattern" in str(warning.message) for warning in caught)
found = {name: unet.get_submodule(name).scaling["kohya"] for name in layers}
wrong = [name for name in layers if abs(found[name] - wanted[name]) > 1e-9]
print(f"diffusers {diffusers.__version__}, peft {peft.__version__}: scale of {len(wrong)} of {len(layers)} layers wrong")
for name in layers[:4]:
    print(f"  {name}: {found[name]}, the file says {wanted[name]}")
attention = all("attn" in name for name in wrong)
print("  all of them attention layers" if attention else "  others than attention layers too")
print(f"  PEFT warns: {warned}")
sys.exit(0 if wrong and attention and warned else 1)
PYTHON
