"""Our side: drawing in batches, a LoRA trained and put in, and the memory plan's estimates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avatar_pipeline.diffusion.device import free_memory_gib
from avatar_pipeline.diffusion.fp8 import is_fp8
from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.memory import inference_plans
from avatar_pipeline.diffusion.model_choice import training_preset
from avatar_pipeline.diffusion.offload import has_nf4
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.sampling import Sampling, text_to_images
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from avatar_pipeline.diffusion.training_memory import TrainingPlan, training_plans
from avatar_pipeline.diffusion.weights import count_parameters
from benchmarks.device._case import (
    LORA_FILE,
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
from benchmarks.lora_flow_models import as_distilled
from benchmarks.lora_models import build


def measure(case: Case, folder: Path, record: Record) -> None:
    """All of our side. folder: takes the model, and the LoRA that the other side draws with."""

    def made() -> dict[str, Any]:
        return {"seconds": timed(case, lambda: build(case.model, folder, case.device))}

    record.take("model of random weights, saved", made)
    if "failed" in record.found["model of random weights, saved"]:
        return
    free()
    preset = get_preset(case.preset)
    preset = replace(preset, accept="", sizes=dict.fromkeys(preset.sizes, (case.side, case.side)))
    drawn_with = as_distilled(folder) if preset.base else folder
    session = open_session(preset, case.device, str(drawn_with))

    def loaded() -> dict[str, Any]:
        seconds = timed(case, lambda: session.pipeline)
        return {"seconds": seconds, "words": "; ".join(session.plan_history)}

    record.take("load", loaded)
    drawing = drawn(case, session)
    for batch in case.batches:
        record.take(
            f"step, batch {batch}",
            lambda batch=batch: step_seconds(case, drawing(batch)),  # type: ignore[misc]
            case.batch_seconds(batch),
        )
    record.take("picture", lambda: whole(case, session, drawing(1)))
    base = session
    if preset.base:  # two models of the family never lie on the card together
        session.close()
        base = open_session(training_preset(preset), case.device, str(folder))
    for batch in case.trained:
        record.take(
            f"training step, batch {batch}",
            lambda batch=batch: trained(case, base, folder, batch),  # type: ignore[misc]
        )
    if base is not session:
        base.close()
    record.take("step with a LoRA, batch 1", lambda: with_lora(case, session, folder, drawing(1)))
    if not case.scripted:
        return
    record.take("picture, fp8", lambda: in_fp8(case, session, drawing(1)), case.batch_seconds(1))
    session.close()
    for kind in ("fp8", "nf4"):
        record.take(
            f"training step, {kind}, checkpointed",
            lambda kind=kind: quantized(case, base, folder, kind),  # type: ignore[misc]
            case.batch_seconds(4),
        )
        base.close()


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


def in_fp8(case: Case, session: PipelineSession, draw: Callable[[int], object]) -> dict[str, Any]:
    """A picture with the denoiser in eight bits, held as on a card that has no room for more; a
    short drawing before warms up. Failed when no weight is in eight bits.
    """
    counted = replace(
        session.preset, parameters=count_parameters(session.model, session.preset.family)
    )
    _ = session.pipeline
    plans = inference_plans(counted, 0.0, cpu=session.device.cpu_precision)
    plan = next(plan for plan in plans if plan.quantization == "fp8" and not plan.tiling)
    session.loaded.hold(plan, session.log)
    draw(case.few)
    found = whole(case, session, draw)
    if not is_fp8(session.denoiser):
        found["failed"] = "no weight is stored in eight bits"
    return found | {"words": f"{found['words']}, {plan.mode}"}


def against(case: Case, estimate: float | None) -> dict[str, Any]:
    """The peak and its estimate; failed when the peak is above it."""
    peak = peak_gib(case.device)
    found: dict[str, Any] = {"gib": peak, "estimate": estimate}
    if peak is not None and estimate is not None and peak > estimate:
        found["failed"] = f"{peak:.1f} GiB were taken, and the plan says {estimate:.1f} GiB"
    return found


def quantized(case: Case, session: PipelineSession, folder: Path, kind: str) -> dict[str, Any]:
    """Steps of our trainer with the base in eight or four bits, where the machine can."""
    if kind == "nf4" and not has_nf4(case.device):
        return {"skipped": "no bitsandbytes with CUDA"}
    return trained(case, session, folder, 1, kind)


def trained(
    case: Case, session: PipelineSession, folder: Path, batch: int, quantization: str = "none"
) -> dict[str, Any]:
    """Steps of our trainer, checkpointed where the base is quantized; the LoRA is left beside the
    model.
    """
    from avatar_pipeline.diffusion.training.dataset import encode_dataset
    from avatar_pipeline.diffusion.training.loop import train_lora
    from avatar_pipeline.diffusion.training.types import Evaluation, TrainingJob

    random = np.random.default_rng(0)
    shape = (case.side, case.side, 3)
    pictures = [Image.fromarray(random.integers(0, 255, shape, np.uint8)) for _ in range(4)]
    asked = {
        "rank": RANK,
        "alpha": RANK,
        "targets": case.targets,
        "learning_rate": 1e-4,
        "max_train_steps": case.training_steps,
        "batch_size": batch,
        "caption_dropout": 0.0,
        "ema": 0.0,
        "evaluate_every": case.training_steps,
        "gradient_checkpointing": quantization != "none",
        "quantization": quantization,
    }
    dataset = encode_dataset(session, pictures, ["a"] * len(pictures))
    job = TrainingJob(session, dataset, session.preset.lora.with_values(asked), seed=0)
    plan = training_plan_of(case, session, batch, quantization)
    free()
    reset_peak(case.device)
    times: list[float] = []
    result = train_lora(job, lambda _: times.append(time.perf_counter()), lambda _: Evaluation(0.0))
    (folder / LORA_FILE).write_bytes(result.weights)
    found = training_step(times, batch, case.device)
    return found | {"words": plan.describe()} | against(case, plan.needs_gib)


def training_plan_of(
    case: Case, session: PipelineSession, batch: int, quantization: str
) -> TrainingPlan:
    """The plan of a training that is made this way; its estimate is of the weights in the
    folder.
    """
    preset, on_cpu = session.preset, case.device == "cpu"
    counted = replace(preset, parameters=count_parameters(session.model, preset.family))
    plans = training_plans(
        counted,
        free_memory_gib(session.device),
        rank=RANK,
        batch_size=batch,
        cpu=session.device.cpu_precision,
        nf4=True,
    )
    way = (quantization != "none", quantization, not on_cpu)
    return next(
        plan
        for plan in plans
        if (plan.gradient_checkpointing, plan.quantization, plan.offload_text) == way
    )


def with_lora(
    case: Case, session: PipelineSession, folder: Path, draw: Callable[[int], object]
) -> dict[str, Any]:
    """A step with the LoRA in; whether it computes beside the weights or is folded into them."""
    with applied(session, folder / LORA_FILE):
        found = step_seconds(case, draw)
        adapters = any("lora_" in name for name, _ in session.denoiser.named_modules())
    return found | {"words": "as adapters" if adapters else "folded into the weights"}
