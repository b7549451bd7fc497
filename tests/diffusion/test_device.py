"""The device: which one, and one process at a time."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from avatar_pipeline.diffusion.device import choose_device, turn
from avatar_pipeline.errors import ModelError

HOLDER = """
import sys, time
from avatar_pipeline.diffusion.device import choose_device, turn
with turn(choose_device("cpu")):
    print("held", flush=True)
    time.sleep(float(sys.argv[1]))
    print(time.time(), flush=True)
"""


def test_auto_finds_a_device_and_an_absent_one_is_refused() -> None:
    import torch

    assert choose_device().kind in ("cuda", "mps", "cpu")
    with pytest.raises(ModelError, match="not known"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="not usable on this machine"):
            choose_device("cuda")


def test_two_processes_take_turns(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLDER, "1.5"], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline().strip() == "held"
    with turn(choose_device("cpu")) as usage:
        began = time.time()
    released = float(other.stdout.readline())
    assert other.wait() == 0
    assert began >= released  # we computed only after the other had finished
    assert usage.seconds < 1.0  # and the wait is not counted as work
    assert usage.peak_memory_mb > 10


def test_a_killed_holder_leaves_the_device_free() -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLDER, "600"], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline().strip() == "held"
    other.kill()
    other.wait()
    with turn(choose_device("cpu")):
        pass
