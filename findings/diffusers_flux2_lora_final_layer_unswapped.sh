#!/usr/bin/env bash
# diffusers turns the halves of FLUX.2's last modulation around in a checkpoint, and not in a LoRA of it: shift and scale change places.
#
# diffusers 0.42.1. In the original model final_layer.adaLN_modulation.1 gives shift, then scale; diffusers' norm_out.linear scale, then shift. Its converter of
# checkpoints swaps the halves of the rows. Its converter of LoRAs (_convert_non_diffusers_flux2_lora_to_diffusers) only renames the layer, where the one of
# FLUX.1 swaps them, too: such a LoRA's shift is added to the scale. Exits 1 when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 peft==0.21.2
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import diffusers
import torch
from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_flux2_lora_to_diffusers
from diffusers.loaders.single_file_utils import convert_flux2_transformer_checkpoint_to_diffusers

WIDTH = 4
rows = torch.arange(2 * WIDTH, dtype=torch.float32)[:, None].repeat(1, WIDTH)  # each row is its number
checkpoint = convert_flux2_transformer_checkpoint_to_diffusers({"final_layer.adaLN_modulation.1.weight": rows.clone()})
lora = _convert_non_diffusers_flux2_lora_to_diffusers(
    {
        "diffusion_model.final_layer.adaLN_modulation.1.lora_A.weight": torch.eye(WIDTH),
        "diffusion_model.final_layer.adaLN_modulation.1.lora_B.weight": rows.clone(),
    }
)
whole = checkpoint["norm_out.linear.weight"][:, 0].tolist()
change = lora["transformer.norm_out.linear.lora_B.weight"][:, 0].tolist()
print(f"diffusers {diffusers.__version__}: original rows 0 to 3 are the shift, 4 to 7 the scale")
print(f"  norm_out.linear of a checkpoint has them in the order {[int(row) for row in whole]}")
print(f"  norm_out.linear of a LoRA has them in the order       {[int(row) for row in change]}")
sys.exit(0 if whole != change and change == sorted(change) else 1)
PYTHON
