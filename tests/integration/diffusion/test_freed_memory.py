"""What a drawing on a CPU has freed goes back to the system before its picture is decoded."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

# A tiny model's copies are small: pieces of 1 MiB, freed while one behind them is still in use, lie
# in the heap in their place. KEPT is how many bytes of copies may stay.
DRAWING = """
import json, sys
from dataclasses import replace
import torch
from avatar_pipeline.diffusion import precision
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.sampling import Sampling, text_to_image
from avatar_pipeline.diffusion.session import open_session

def resident():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024

torch.set_num_threads(1)
precision.KEPT_BYTES = int(sys.argv[2])
session = open_session(get_preset("sd15"), "cpu", sys.argv[1])
session.loaded.device = replace(session.device, autocast=torch.bfloat16)
draw = lambda: text_to_image(session, "a", 0, (256, 256), Sampling(1, 3.0))
draw()
del [torch.ones(2**23)][0]  # from now on pieces of up to 32 MiB come from the heap
pieces = [torch.ones(2**18) for _ in range(200)]
behind = torch.ones(2**18)
held = resident()
pieces.clear()
freed = resident()
draw()
print(json.dumps({"held": held, "freed": freed, "drawn": resident()}))
"""


def resident_mib(folder: Path, kept: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", DRAWING, str(folder), str(kept)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the heap of glibc")
def test_copies_of_a_large_model_leave_the_process_and_those_of_a_small_one_stay(
    tiny_models: dict[str, Path],
) -> None:
    large, small = (resident_mib(tiny_models["sd15"], kept) for kept in (0, 2**28))
    for found in (large, small):
        assert found["freed"] > found["held"] - 50, "the pieces did not lie in the heap"
    assert large["drawn"] < large["freed"] - 150
    assert small["drawn"] > small["freed"] - 50
