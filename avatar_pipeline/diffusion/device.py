"""Which device computes, in which precision, and whose turn it is."""

from __future__ import annotations

import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avatar_pipeline.errors import ModelError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Device:
    """A device and how to compute on it.

    kind: cuda, mps or cpu. dtype: precision of the weights. autocast: lower precision of the heavy layers, or None.
    """

    kind: str
    name: str
    dtype: torch.dtype
    autocast: torch.dtype | None


@dataclass
class Usage:
    """What one turn on a device took: wall seconds, and peak memory in MiB (the process's own peak so far when on a CPU)."""

    seconds: float = 0.0
    peak_memory_mb: float = 0.0


def choose_device(wanted: str = "auto") -> Device:
    """The device called `wanted` (auto, cuda, mps, cpu); auto takes the first of these that is there.

    Raises ModelError when the one asked for is not usable.
    """
    import torch

    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    kind = next(name for name in usable if usable[name]) if wanted == "auto" else wanted
    if kind not in usable:
        raise ModelError(f"device {wanted!r} is not known. Use auto, cuda, mps or cpu.")
    if not usable[kind]:
        raise ModelError(f"device {wanted!r} is not usable on this machine. Use device: auto, or install the torch build for it.")
    if kind == "cuda":
        return Device("cuda", torch.cuda.get_device_name(), torch.bfloat16, None)
    if kind == "mps":
        return Device("mps", platform.processor() or "Apple GPU", torch.float32, torch.float16)
    # Processors with bfloat16 arithmetic run the U-Net about twice as fast in it; emulated on others it is slower than float32.
    fast = bool(torch.cpu.get_capabilities().get("avx512_bf16") or torch.cpu.get_capabilities().get("amx_bf16"))
    name = f"{torch.cpu.get_capabilities().get('cpu_name') or platform.machine()} ({torch.get_num_threads()} threads)"
    return Device("cpu", name, torch.float32, torch.bfloat16 if fast else None)


def lock_path(device: Device) -> Path:
    """The file that processes of one user lock while they compute on `device`."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return Path(tempfile.gettempdir()) / f"avatar_pipeline-{user}-{device.kind}.lock"


@contextmanager
def turn(device: Device) -> Iterator[Usage]:
    """Hold `device` alone among this user's processes, and measure what that takes.

    The operating system releases the lock when its process dies. Waiting for it is not part of the seconds.
    """
    import filelock
    import torch

    usage = Usage()
    with filelock.FileLock(lock_path(device)):
        if device.kind == "cuda":
            torch.cuda.reset_peak_memory_stats()
        started = time.monotonic()
        try:
            yield usage
        finally:
            usage.seconds = time.monotonic() - started
            if device.kind == "cuda":
                usage.peak_memory_mb = torch.cuda.max_memory_allocated() / 2**20
            else:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                usage.peak_memory_mb = peak / (2**20 if sys.platform == "darwin" else 2**10)
