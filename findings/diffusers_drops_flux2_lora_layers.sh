#!/usr/bin/env bash
# diffusers drops every layer of a FLUX.2 LoRA under ComfyUI's names when its matrices are called lora_down and lora_up, and goes on as if it were loaded.
#
# diffusers 0.42.1, peft 0.21.2. The same file with lora_A and lora_B loads; with an alpha beside these it is a ValueError. Files with `diffusion_model.` names,
# lora_down, lora_up and alpha are what ComfyUI reads at the right scale. lora_state_dict logs "Unsupported keys", returns nothing, and
# load_lora_into_transformer puts no layer in; a picture is drawn without the LoRA. No weights are needed: small random ones show it. Exits 1 when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 peft==0.21.2
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import diffusers
import torch
from diffusers import Flux2Transformer2DModel
from diffusers.loaders import Flux2LoraLoaderMixin

torch.manual_seed(0)
WIDTH, RANK = 32, 4
LAYERS = {"double_blocks.0.img_attn.qkv": 3 * WIDTH, "double_blocks.0.img_attn.proj": WIDTH}


def layers_put_in(down: str, up: str, alpha: bool) -> str:
    model = Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=WIDTH,
        timestep_guidance_channels=32, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )
    file = {}
    for name, rows in LAYERS.items():
        key = f"diffusion_model.{name}"
        file[f"{key}.{down}.weight"], file[f"{key}.{up}.weight"] = torch.randn(RANK, WIDTH), torch.randn(rows, RANK)
        if alpha:
            file[f"{key}.alpha"] = torch.tensor(2.0)
    try:
        state = Flux2LoraLoaderMixin.lora_state_dict(file)
    except ValueError:
        return "ValueError"
    Flux2LoraLoaderMixin.load_lora_into_transformer(state, model, adapter_name="one")
    return f"{sum(name.endswith('lora_A.one') for name, _ in model.named_modules())} layers"


found = {
    "lora_A, lora_B": layers_put_in("lora_A", "lora_B", False),
    "lora_A, lora_B, alpha": layers_put_in("lora_A", "lora_B", True),
    "lora_down, lora_up": layers_put_in("lora_down", "lora_up", False),
    "lora_down, lora_up, alpha": layers_put_in("lora_down", "lora_up", True),
}
print(f"diffusers {diffusers.__version__}: a FLUX.2 LoRA of two original layers, which are four of diffusers', under diffusion_model. names")
for names, result in found.items():
    print(f"  {names}: {result}")
expected = ["4 layers", "ValueError", "0 layers", "0 layers"]
sys.exit(0 if list(found.values()) == expected else 1)
PYTHON
