"""What a part measures, and the measurements as they are taken: each is written down at once."""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

LORA_FILE = "lora.safetensors"
PRESETS = {"sdxl": "sdxl", "flux-dev": "flux-dev", "tiny-sdxl": "sdxl", "tiny-flux": "flux-dev"}
RANK, LEFT_OUT = 16, 3  # steps of a training that do not count: kernels are chosen


@dataclass(frozen=True)
class Case:
    """A model and the sizes at which it is measured. side: pixels. few, many: denoising steps, the
    difference of whose times is that of a step. batches: pictures at once. trained: batches of a
    training. picture_steps: of a whole picture, None for the preset's own.
    """

    model: str
    device: str
    side: int
    few: int
    many: int
    batches: tuple[int, ...]
    trained: tuple[int, ...]
    training_steps: int
    picture_steps: int | None = None

    @property
    def flux(self) -> bool:
        return "flux" in self.model

    @property
    def prompts(self) -> list[str]:
        """As many as the largest batch has; the random models' tokenizers know single letters."""
        letters = "abcdefgh"
        return [f"a {letters[index % len(letters)]}" for index in range(max(self.batches))]


def case_of(model: str, device: str) -> Case:
    """The sizes for a model. Without checkpointing FLUX.1 takes 55 GiB a picture trained on."""
    if model.startswith("tiny-"):
        return Case(model, device, 256, 1, 3, (1, 2), (1,), 5, 4)
    return Case(model, device, 1024, 2, 6, (1, 4, 8), (1,) if "flux" in model else (1, 4), 10)


@dataclass
class Record:
    """What was found, by name: {"seconds"}, {"gib", "estimate"}, {"words"}, {"failed"} or
    {"skipped"}.

    until: time.monotonic() after which nothing more is begun.
    """

    target: Path
    until: float
    found: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(self, name: str, work: Callable[[], dict[str, Any]], needs: float = 0.0) -> None:
        """Measure, and keep what `work` returns, or why it failed. needs: seconds; it is skipped
        where fewer are left.
        """
        left = self.until - time.monotonic()
        if left < needs:
            self.found[name] = {"skipped": f"{left:.0f} s were left, {needs:.0f} s are needed"}
        else:
            try:
                self.found[name] = work()
            except Exception as error:
                free()
                self.found[name] = {"failed": f"{type(error).__name__}: {str(error)[:400]}"}
        print(f"  {name}: {json.dumps(self.found[name])}", flush=True)
        self.target.write_text(json.dumps(self.found, indent=1))


def step_seconds(case: Case, draw: Callable[[int], object]) -> dict[str, Any]:
    """Seconds of a denoising step of `draw`, which takes the number of steps: the difference of
    two drawings, decoding aside; one drawing before warms up.
    """
    draw(case.few)
    reset_peak(case.device)
    few, many = timed(case, lambda: draw(case.few)), timed(case, lambda: draw(case.many))
    return {"seconds": (many - few) / (case.many - case.few), "gib": peak_gib(case.device)}


def timed(case: Case, work: Callable[[], object]) -> float:
    """Seconds until the device has done it."""
    synchronize(case.device)
    began = time.perf_counter()
    work()
    synchronize(case.device)
    return time.perf_counter() - began


def training_step(times: list[float], batch: int, device: str) -> dict[str, Any]:
    """Seconds of a training step: the median of the differences of `times`, the first aside."""
    steps = [later - earlier for earlier, later in itertools.pairwise(times)][LEFT_OUT:]
    seconds = statistics.median(steps)
    return {"seconds": seconds, "samples a second": batch / seconds, "gib": peak_gib(device)}


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def reset_peak(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_gib(device: str) -> float | None:
    """Most GiB that PyTorch's allocator has given out; None without a card."""
    return torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None


def free() -> None:
    """Give back what nothing refers to."""
    import gc

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
