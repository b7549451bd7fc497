"""The device: which one, and one process at a time."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.device import choose_device, free_memory_gib, turn

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


@pytest.mark.parametrize("wanted", ["cuda:x", "cpu:1", "cuda:", "gpu", "cuda:-1"])
def test_what_is_no_device(wanted: str) -> None:
    with pytest.raises(ModelError, match=f"{wanted}' is not known.*cuda:1"):
        choose_device(wanted)


def test_a_numbered_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with two cards, or what torch would say there."""
    import torch

    current: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"card {index}")
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    device = choose_device("cuda:1")
    assert (device.where, device.kind, device.name, device.index) == ("cuda:1", "cuda", "card 1", 1)
    assert choose_device("cuda").where == choose_device("auto").where == "cuda:0"
    assert current == [1, 0, 0]
    with pytest.raises(
        ModelError, match="'cuda:2' is not there: this machine has 2 CUDA devices, cuda:0 to cuda:1"
    ):
        choose_device("cuda:2")


def test_free_memory_is_a_part_of_the_machines() -> None:
    import psutil

    assert 0.1 < free_memory_gib(choose_device("cpu")) <= psutil.virtual_memory().total / 2**30


@pytest.mark.child_process
def test_two_processes_take_turns(tmp_path: Path) -> None:
    """Though each has a folder for temporary files of its own, as systemd's PrivateTmp gives
    one.
    """
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, "1.5"], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert other.stdout is not None
    assert other.stdout.readline().strip() == "held"
    with turn(choose_device("cpu")) as usage:
        began = time.time()
    released = float(other.stdout.readline())
    assert other.wait() == 0
    assert began >= released  # we computed only after the other had finished
    assert usage.seconds < 1.0  # and the wait is not counted as work
    assert usage.peak_memory_mb > 10


@pytest.mark.child_process
def test_a_killed_holder_leaves_the_device_free() -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, "600"], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline().strip() == "held"
    other.kill()
    other.wait()
    with turn(choose_device("cpu")):
        pass
