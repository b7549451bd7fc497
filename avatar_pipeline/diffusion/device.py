"""Which device computes, in which precision, and whose turn it is."""

from __future__ import annotations

import ctypes
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avatar_pipeline.core.clock import utc_now
from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.core.importing import importing
from avatar_pipeline.core.locks import hold, locks_folder, this_machine
from avatar_pipeline.diffusion.memory import CpuPrecision

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Device:
    """A device and how to compute on it.

    kind: cuda, mps or cpu. dtype: precision of the weights. autocast: lower precision of the heavy
    layers, or None.
    index: which of several CUDA devices.
    """

    kind: str
    name: str
    dtype: torch.dtype
    autocast: torch.dtype | None
    index: int = 0

    @property
    def cpu_precision(self) -> CpuPrecision | None:
        """What the heavy layers of a CPU compute in; None for any other device."""
        if self.kind != "cpu":
            return None
        return "bfloat16" if self.autocast else "float32"

    @property
    def where(self) -> str:
        """What torch calls it, such as "cuda:1" or "cpu"."""
        return f"cuda:{self.index}" if self.kind == "cuda" else self.kind


@dataclass
class Usage:
    """What one turn on a device took: wall seconds, and peak memory in MiB (the process's own peak
    so far when on a CPU).

    waited: seconds before the turn, not part of `seconds`. since, until: when it was held, UTC.
    """

    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    waited: float = 0.0
    since: str = ""
    until: str = ""


def choose_device(wanted: str = "auto") -> Device:
    """The device called `wanted` (auto, cuda, cuda:1, mps, cpu); auto takes the first of cuda, mps
    and cpu that is there.

    A CUDA device becomes the current one, so that "cuda" alone means it. Raises ModelError when the
    one asked for is not usable.
    """
    with importing():
        import torch

    usable = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    kind, colon, number = (
        next(name for name in usable if usable[name]) if wanted == "auto" else wanted,
        "",
        "",
    )
    if kind not in usable:
        kind, colon, number = wanted.partition(":")
    if kind not in usable or (colon and not (kind == "cuda" and number.isdecimal())):
        raise ModelError(
            f"device {wanted!r} is not known. Use auto, cuda, cuda:1 (another number "
            "for another card), mps or cpu."
        )
    if not usable[kind]:
        raise ModelError(
            f"device {wanted!r} is not usable on this machine. Use device: auto, or "
            "install the torch build for it."
        )
    if kind == "cuda":
        index, count = int(number or 0), torch.cuda.device_count()
        if index >= count:
            raise ModelError(
                f"device {wanted!r} is not there: this machine has {count} CUDA devices, cuda:0 "
                f"to cuda:{count - 1}."
            )
        torch.cuda.set_device(index)
        return Device("cuda", torch.cuda.get_device_name(index), torch.bfloat16, None, index)
    if kind == "mps":
        return Device("mps", platform.processor() or "Apple GPU", torch.float32, torch.float16)
    # Processors with bfloat16 arithmetic run the U-Net about twice as fast in it; emulated on
    # others it is slower than float32.
    fast = bool(
        torch.cpu.get_capabilities().get("avx512_bf16")
        or torch.cpu.get_capabilities().get("amx_bf16")
    )
    name = (
        f"{torch.cpu.get_capabilities().get('cpu_name') or platform.machine()} "
        f"({torch.get_num_threads()} threads)"
    )
    return Device("cpu", name, torch.float32, torch.bfloat16 if fast else None)


def free_memory_gib(device: Device) -> float:
    """GiB that a new model could take: what nobody uses, and what PyTorch holds without using
    it.
    """
    import torch

    if device.kind == "cuda":
        unused = torch.cuda.memory_reserved(device.index) - torch.cuda.memory_allocated(
            device.index
        )
        return (torch.cuda.mem_get_info(device.index)[0] + unused) / 2**30
    if device.kind == "mps":
        return (torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()) / 2**30
    import psutil

    free = psutil.virtual_memory().available
    try:  # a container may have less than its machine (control groups, version 2)
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        free = min(free, int(limit) - used) if limit != "max" else free
    except (OSError, ValueError):
        pass
    return free / 2**30


def release_heap() -> None:
    """Give memory that was freed back to the system. Of pieces below 32 MiB glibc gives back only
    what lies at the end of the heap.
    """
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release is not None:
        release(0)


def lock_path(device: Device) -> Path:
    """The file that processes lock while they compute on `device`: in `locks_folder()`, the same
    for all processes of a user.

    It does not hold off other users, unless AVATAR_LOCKS names a folder that they share, nor
    containers that do not mount that folder. Raises StoreError when there is no such folder.
    """
    if device.kind != "cuda":  # a home folder may be shared by several machines
        return locks_folder() / f"{device.kind}-{this_machine()}.lock"
    import torch

    # By the card's own number: cuda:0 may be another card in a process that sees only some of them.
    return locks_folder() / f"cuda-{torch.cuda.get_device_properties(device.index).uuid}.lock"


@contextmanager
def turn(
    device: Device, work: str = "", log: Callable[[str], None] = lambda line: None
) -> Iterator[Usage]:
    """Hold `device` alone among the processes that share its lock, and measure what that takes.

    The operating system releases the lock when its process dies. Waiting for it is not part of the
    seconds, and `log` hears of it; `work` is what other waiters read. Raises StoreError when the
    lock cannot be used.
    """
    import torch

    usage = Usage()
    with hold(lock_path(device), f"the device {device.where}", work, log) as usage.waited:
        usage.since = utc_now()
        if device.kind == "cuda":
            torch.cuda.set_device(device.index)  # current devices are a matter of threads
            torch.cuda.reset_peak_memory_stats(device.index)
        started = time.monotonic()
        try:
            yield usage
        finally:
            usage.seconds = time.monotonic() - started
            usage.until = utc_now()
            if device.kind == "cuda":
                usage.peak_memory_mb = torch.cuda.max_memory_allocated(device.index) / 2**20
            else:
                usage.peak_memory_mb = process_peak_mb()


def process_peak_mb() -> float:
    """The most memory, in MiB, that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
