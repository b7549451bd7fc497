"""Our side: drawing in batches, a LoRA trained and put in, and the memory plan's estimates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.sampling import Sampling, text_to_images
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from benchmarks.device._case import (
    LORA_FILE,
    PRESETS,
    RANK,
    Case,
    Record,
    free,
    peak_gib,
    reset_peak,
    step_seconds,
    timed,
    training_step,
)
from benchmarks.lora_models import build


def measure(case: Case, folder: Path, record: Record) -> None:
    """All of our side. folder: takes the model, and the LoRA that the other side draws with."""

    def made() -> dict[str, Any]:
        return {"seconds": timed(case, lambda: build(case.model, folder, case.device))}

    record.take("model of random weights, saved", made)
    if "failed" in record.found["model of random weights, saved"]:
        return
    free()
    preset = get_preset(PRESETS[case.model])
    sizes = dict.fromkeys(preset.sizes, (case.side, case.side))
    preset = replace(preset, accept="", sizes=sizes)
    session = open_session(preset, case.device, str(folder))

    def loaded() -> dict[str, Any]:
        seconds = timed(case, lambda: session.pipeline)
        return {"seconds": seconds, "words": "; ".join(session.plan_history)}

    record.take("load", loaded)
    drawing = drawn(case, session)
    for batch in case.batches:
        needs = 5.0 * batch if case.flux else 2.0 * batch
        record.take(
            f"step, batch {batch}",
            lambda batch=batch: step_seconds(case, drawing(batch)),  # type: ignore[misc]
            0 if case.side < 512 else needs,
        )
    record.take("picture", lambda: whole(case, session, drawing(1)))
    for batch in case.trained:
        record.take(
            f"training step, batch {batch}",
            lambda batch=batch: trained(case, session, folder, batch),  # type: ignore[misc]
        )
    record.take("step with a LoRA, batch 1", lambda: with_lora(case, session, folder, drawing(1)))


def drawn(case: Case, session: PipelineSession) -> Callable[[int], Callable[[int], object]]:
    """A function of the batch that gives one of the steps, which draws."""
    scale = session.preset.guidance_scale

    def of(batch: int) -> Callable[[int], object]:
        prompts, seeds = case.prompts[:batch], list(range(batch))
        size = (case.side, case.side)
        return lambda steps: text_to_images(session, prompts, seeds, size, Sampling(steps, scale))

    return of


def whole(case: Case, session: PipelineSession, draw: Callable[[int], object]) -> dict[str, Any]:
    """A picture at the preset's own steps; its memory against the plan's estimate."""
    reset_peak(case.device)
    steps = case.picture_steps or session.preset.steps
    seconds = timed(case, lambda: draw(steps))
    estimate = session.plan.needs_gib if session.plan else None
    return {"seconds": seconds, "words": f"{steps} steps", **against(case, estimate)}


def against(case: Case, estimate: float | None) -> dict[str, Any]:
    """The peak and its estimate. Raises RuntimeError when the peak is above it."""
    peak = peak_gib(case.device)
    if peak is not None and estimate is not None and peak > estimate:
        raise RuntimeError(f"{peak:.1f} GiB were taken, and the plan says {estimate:.1f} GiB")
    return {"gib": peak, "estimate": estimate}


def trained(case: Case, session: PipelineSession, folder: Path, batch: int) -> dict[str, Any]:
    """Steps of our trainer; the LoRA is left beside the model."""
    from avatar_pipeline.diffusion.training.dataset import encode_dataset
    from avatar_pipeline.diffusion.training.loop import train_lora
    from avatar_pipeline.diffusion.training.types import Evaluation, TrainingJob

    random = np.random.default_rng(0)
    shape = (case.side, case.side, 3)
    pictures = [Image.fromarray(random.integers(0, 255, shape, np.uint8)) for _ in range(4)]
    asked = {
        "rank": RANK,
        "alpha": RANK,
        "learning_rate": 1e-4,
        "max_train_steps": case.training_steps,
        "batch_size": batch,
        "caption_dropout": 0.0,
        "ema": 0.0,
        "evaluate_every": case.training_steps,
        "gradient_checkpointing": False,
        "quantization": "none",
    }
    dataset = encode_dataset(session, pictures, ["a"] * len(pictures))
    job = TrainingJob(session, dataset, session.preset.lora.with_values(asked), seed=0)
    plan = session.training_plan(RANK, batch)
    free()
    reset_peak(case.device)
    times: list[float] = []
    result = train_lora(job, lambda _: times.append(time.perf_counter()), lambda _: Evaluation(0.0))
    (folder / LORA_FILE).write_bytes(result.weights)
    found = training_step(times, batch, case.device)
    simplest = not plan.gradient_checkpointing and plan.quantization == "none"
    return found | {"words": plan.describe()} | (against(case, plan.needs_gib) if simplest else {})


def with_lora(
    case: Case, session: PipelineSession, folder: Path, draw: Callable[[int], object]
) -> dict[str, Any]:
    """A step with the LoRA in; whether it computes beside the weights or is folded into them."""
    with applied(session, folder / LORA_FILE):
        found = step_seconds(case, draw)
        adapters = any("lora_" in name for name, _ in session.denoiser.named_modules())
    return found | {"words": "as adapters" if adapters else "folded into the weights"}
