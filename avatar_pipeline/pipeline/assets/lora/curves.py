"""The training curves of a LoRA as one picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from avatar_pipeline.diffusion.training.types import Step

SMOOTHING = 20  # steps averaged for the thick line


def draw_curves(
    history: Sequence[Step],
    evaluations: Sequence[Mapping[str, Any]],
    before: float,
    best_step: int,
    same_person: float,
) -> Image.Image:
    """Loss and length of the gradient over steps, and identity distance with face rate over
    evaluations; RGB, 1000x400 pixels.

    before: the distance without a LoRA. same_person: the analyzer's limit, drawn as a line.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    steps, losses = [step.step for step in history], [step.loss for step in history]
    left.plot(steps, losses, color="0.8", linewidth=0.8)
    left.plot(steps, _smooth(losses), color="tab:blue", label="loss")
    left.set(xlabel="step", ylabel="loss", title="training loss")
    # A gradient that grows says that training is about to diverge, long before the loss does.
    norms = left.twinx()
    norms.plot(
        steps, _smooth([step.gradient_norm for step in history]), color="tab:orange", linewidth=1
    )
    norms.set(ylabel="gradient norm")
    norms.set_ylim(bottom=0)
    left.legend(
        [left.lines[-1], norms.lines[0]], ["loss", "gradient norm"], loc="upper right", fontsize=8
    )

    right.plot(
        [0, *(row["step"] for row in evaluations)],
        [before, *(row["distance"] for row in evaluations)],
        "o-",
        label="distance",
    )
    right.axhline(same_person, color="tab:red", linestyle="--", linewidth=1, label="same person")
    right.axvline(best_step, color="tab:green", linestyle=":", label="kept")
    right.set(xlabel="step", ylabel="identity distance", title="distance to held-out pictures")
    rate = right.twinx()
    rate.plot(
        [row["step"] for row in evaluations],
        [row["face_rate"] for row in evaluations],
        "s",
        color="0.6",
        label="face rate",
    )
    rate.set(ylim=(0, 1.05), ylabel="face rate")
    right.legend(loc="upper right", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def _smooth(values: Sequence[float]) -> list[float]:
    """Each value averaged with those before it; what is not finite, of a step that was left out,
    does not count.
    """
    windows = [
        [v for v in values[max(0, i - SMOOTHING) : i + 1] if np.isfinite(v)]
        for i in range(len(values))
    ]
    return [float(np.mean(window)) if window else float("nan") for window in windows]
