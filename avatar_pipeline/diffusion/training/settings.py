"""What is asked of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.presets import Preset

OptimizerName = Literal["adamw", "adamw8bit", "prodigy"]
Quantisation = Literal["none", "fp8", "nf4"]


@dataclass(frozen=True)
class Hyperparameters:
    """How a LoRA is trained.

    steps: optimizer steps. batch_size: pictures of one forward pass, over all processes;
    accumulation: forward passes of a step.
    evaluate_every: steps between evaluations, the last step being one too. patience: evaluations in
    a row without a better score after which training stops, 0 for never. caption_dropout: share of
    pictures without their caption, as drawing is guided from none.
    face_weight: how many times as much the loss counts in the face as around it, 1 for all alike.
    min_snr: gamma of min-SNR weighting (arXiv 2303.09556), 0 for none; it acts on models that
    predict noise or velocity.
    prior_weight: weight of the loss on the class pictures, which keep the model from taking
    everybody for the person. timestep_*: share of noise levels drawn evenly, the others from a
    logit-normal; they act on rectified flow only.
    ema: decay of the averaged weights, which are then the ones evaluated and saved; 0 for none.
    rslora: scale by alpha / sqrt(rank) instead of alpha / rank (arXiv 2312.03732). dora: learn
    magnitudes apart from directions (arXiv 2402.09353). quantise: how the base model's weights are
    stored while training; "fp8" everywhere, "nf4" on CUDA.
    compile: compile the repeated blocks. processes: how many processes share each batch, each on a
    device of its own.
    """

    rank: int
    alpha: int
    learning_rate: float
    steps: int
    batch_size: int
    targets: tuple[str, ...]
    evaluate_every: int
    caption_dropout: float = 0.1
    face_weight: float = 1.0
    accumulation: int = 1
    patience: int = 0
    min_snr: float = 0.0
    prior_weight: float = 0.0
    timestep_mean: float = 0.0
    timestep_spread: float = 1.0
    timestep_uniform: float = 1.0
    ema: float = 0.0
    optimizer: OptimizerName = "adamw"
    rslora: bool = False
    dora: bool = False
    gradient_checkpointing: bool = False
    quantise: Quantisation = "none"
    compile: bool = False
    processes: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % self.processes:
            raise GenerationError(
                f"batch_size: {self.batch_size} pictures cannot be shared evenly by "
                f"{self.processes} processes. "
                "Give a multiple of processes."
            )


def from_preset(preset: Preset, evaluate_every: int = 75, **changes: Any) -> Hyperparameters:
    """The preset's own settings, with `changes`; a change to None leaves the preset's.

    Prodigy finds the learning rate itself and takes the setting as a factor: it is 1 when none is
    given.
    """
    settings: dict[str, Any] = {
        "rank": preset.lora_rank,
        "alpha": preset.lora_alpha,
        "learning_rate": preset.lora_learning_rate,
        "steps": preset.lora_steps,
        "batch_size": preset.lora_batch_size,
        "targets": preset.lora_targets,
        "face_weight": preset.lora_face_weight,
        "min_snr": preset.lora_min_snr,
        "ema": preset.lora_ema,
        "timestep_mean": preset.timestep_mean,
        "timestep_spread": preset.timestep_spread,
        "timestep_uniform": preset.timestep_uniform,
        "evaluate_every": evaluate_every,
    }
    if changes.get("optimizer") == "prodigy":
        settings["learning_rate"] = 1.0
    return Hyperparameters(
        **settings | {name: value for name, value in changes.items() if value is not None}
    )
