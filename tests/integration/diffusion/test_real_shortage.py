"""Running out of memory for real, in a process whose address space is limited."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Decoding 1536x1536 pixels at once takes about 500 MB in the tiny VAE, and 60 MB in tiles of 512.
# The limit is set when everything is loaded and warm: what the process has now, and so many MB
# more.
LIMITED = """
import json, resource, sys
import torch
from avatar_pipeline.diffusion.presets import get_preset
from dataclasses import replace
from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.fallback import run_with_fallback
from avatar_pipeline.diffusion.session import open_session

torch.set_num_threads(1)
lines = []
session = replace(open_session(get_preset("sd15"), "cpu", sys.argv[1]), log=lines.append)

def draw(size):
    with torch.no_grad():
        return session.family.decode_latents(session.pipeline, torch.zeros(1, 4, size // 8, size // 8))

draw(512)
size = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[2]) * 2**20, -1))
calls = []

def work():
    calls.append(session.plan.mode)
    return draw(1536).shape

try:
    made, error = run_with_fallback(session, work), ""
except GenerationError as raised:
    made, error = None, str(raised)
print(json.dumps({"made": made, "error": error, "calls": calls, "history": session.plan_history, "log": lines}))
"""  # noqa: E501


def run_limited(folder: Path, spare: int) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder), str(spare)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="limits of address space are Linux's"
)
def test_a_real_shortage_steps_down_once_and_the_work_is_done(tiny_models: dict[str, Path]) -> None:
    told = run_limited(tiny_models["sd15"], 280)
    assert told["made"] == [1, 3, 1536, 1536], told
    assert told["calls"] == ["all on the device", "all on the device, VAE in tiles"]
    assert len(told["history"]) == 2
    assert "VAE in tiles" in told["history"][1]
    assert any("out of memory" in line and "VAE in tiles" in line for line in told["log"])


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="limits of address space are Linux's"
)
def test_a_second_shortage_says_what_to_do(tiny_models: dict[str, Path]) -> None:
    told = run_limited(tiny_models["sd15"], 20)
    assert told["made"] is None
    assert len(told["calls"]) == 2
    for word in (
        "out of memory twice",
        "VAE in tiles",
        "smaller pictures",
        "batch_size",
        "smaller preset than sd15",
    ):
        assert word in told["error"]
