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

from avatar_pipeline.diffusion.presets import get_preset
from benchmarks.lora_cases import TARGETS, TINY

LORA_FILE = "lora.safetensors"
RANK, LEFT_OUT = 16, 3  # steps of a training that do not count: kernels are chosen


@dataclass(frozen=True)
class Case:
    """A model and the sizes at which it is measured. side: pixels. few, many: denoising steps, the
    difference of whose times is that of a step. batches: pictures at once. trained: batches of a
    training. picture_steps: of a whole picture, None for the preset's own. scripts: a folder with
    diffusers' scripts; their_packages: one with torchvision.
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
    scripts: Path | None = None
    their_packages: Path | None = None

    @property
    def preset(self) -> str:
        return TINY.get(self.model, self.model)

    @property
    def tiny(self) -> bool:
        return self.model in TINY

    @property
    def scripted(self) -> bool:
        """Whether the other side's training step is that of diffusers' script itself, which shares
        its base with a distilled model.
        """
        return self.preset in ("flux2-klein", "z-image")

    @property
    def targets(self) -> tuple[str, ...]:
        """The layers that both sides train."""
        return TARGETS[self.preset] if self.scripted else get_preset(self.preset).lora.targets

    def batch_seconds(self, batch: int) -> float:
        """Seconds without which so large a batch is not begun."""
        return 0 if self.tiny else batch * {"sdxl": 2.0, "flux-dev": 5.0}.get(self.preset, 3.0)

    @property
    def prompts(self) -> list[str]:
        """As many as the largest batch has; the random models' tokenizers know single letters."""
        letters = "abcdefgh"
        return [f"a {letters[index % len(letters)]}" for index in range(max(self.batches))]


def case_of(
    model: str, device: str, scripts: Path | None = None, their_packages: Path | None = None
) -> Case:
    """The sizes for a model. Without checkpointing a picture trained on takes 20 GiB of klein, 31
    of FLUX.1, 41 of Z-Image.
    """
    more = (scripts, their_packages)
    if model in TINY:
        return Case(model, device, 256, 2, 4, (1, 2), (1,), 5, 4, *more)
    batches = (1, 4) if model in ("flux2-klein", "z-image") else (1, 4, 8)
    trained = (1, 4) if model == "sdxl" else (1,)
    return Case(model, device, 1024, 2, 6, batches, trained, 10, None, *more)


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
