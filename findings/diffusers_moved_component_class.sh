#!/usr/bin/env bash
# A component class of one's own that has moved: the module that a pipeline folder names must have ModelMixin, too.
#
# diffusers 0.42.1. model_index.json names a component as ["module", "Class"]. When the class moves, the old module is kept with one line
# that imports the class from its new place, and Python's import of the old address works. DiffusionPipeline.from_pretrained then refuses
# the folder: "cannot be loaded as it does not seem to have any of the loading methods". It takes the base classes by which it chooses how
# to load (ModelMixin, SchedulerMixin ...) from the names of that same module, and a module that only re-exports has none. The remedy is a
# second re-export, of diffusers.ModelMixin. Whether the class inherits from it does not count.
# Exits 1 when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 diffusers==0.42.1 transformers==5.23.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import json
import subprocess
import sys
from pathlib import Path

import diffusers
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

package = Path("mine")
package.mkdir()
(package / "__init__.py").write_text("")
(package / "parts.py").write_text(
    "from diffusers import UNet2DModel\nfrom diffusers.models import ModelMixin\n\n\nclass OwnUNet(UNet2DModel):\n    pass\n"
)
(package / "address.py").write_text("from mine.parts import OwnUNet\n")
(package / "both.py").write_text("from diffusers.models import ModelMixin\nfrom mine.parts import OwnUNet\n")
unet = UNet2DModel(
    sample_size=8, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1,
    down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
)
DDPMPipeline(unet, DDPMScheduler()).save_pretrained("folder")
index = json.loads(Path("folder/model_index.json").read_text())


def load(module):
    index["unet"] = [module, "OwnUNet"]
    Path("folder/model_index.json").write_text(json.dumps(index))
    code = f"import {module}; from diffusers import DDPMPipeline; DDPMPipeline.from_pretrained('folder')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return "loads" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


print(f"diffusers {diffusers.__version__}; the class is defined in mine.parts, and model_index.json names")
found = {module: load(module) for module in ("mine.parts", "mine.address", "mine.both")}
for module, said in found.items():
    print(f"  {module:12} {said[:60]} ... {said[-330:-250]}" if said != "loads" else f"  {module:12} loads")
refused = "does not seem to have any of the loading methods" in found["mine.address"]
sys.exit(0 if refused and found["mine.parts"] == found["mine.both"] == "loads" else 1)
PYTHON
