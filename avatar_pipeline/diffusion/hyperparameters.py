"""The hyperparameters of LoRA training: each one once, with its default, range and meaning.

A preset holds a whole set. What may differ from it, field by field, is its optional twin: the
settings of the stage `lora` and the `lora_*` overrides of a preset are made of the same fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.core.renamed import LORA_SETTINGS, with_former_names

OptimizerName = Literal["adamw", "adamw8bit", "prodigy"]
Quantization = Literal["none", "fp8", "nf4"]


class LoraHyperparameters(BaseModel):
    """How a LoRA is trained. Fields without a default differ from model to model.

    `snr_gamma` acts on models that predict noise or velocity (min-SNR weighting, arXiv 2303.09556),
    `timestep_*` on rectified flow. `use_rslora`: arXiv 2312.03732; `use_dora`: arXiv 2402.09353.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(ge=1, le=256, description="rank of the LoRA's matrices")
    alpha: int = Field(ge=1, le=512, description="scale of the LoRA: its strength is alpha / rank")
    learning_rate: float = Field(
        gt=0, le=10, description="learning rate; with prodigy a factor, 1 if not given"
    )
    max_train_steps: int = Field(ge=1, le=20000, description="optimizer steps")
    batch_size: int = Field(
        ge=1, le=64, description="pictures per forward pass, over all processes"
    )
    gradient_accumulation_steps: int = Field(
        1,
        ge=1,
        le=64,
        description="forward passes per step: as a larger batch, in the memory of a small one",
    )
    evaluate_every: int = Field(
        75, ge=1, description="steps between evaluations on held-out pictures"
    )
    patience: int = Field(
        0,
        ge=0,
        le=100,
        description="stop after this many evaluations without a better likeness; 0: never",
    )
    caption_dropout: float = Field(
        0.1, ge=0, le=1, description="share of pictures without a caption, for guidance"
    )
    face_weight: float = Field(
        1.0,
        ge=1,
        le=20,
        description="how many times as much the loss counts in the face; 1: all alike",
    )
    snr_gamma: float = Field(
        0.0, ge=0, le=100, description="gamma of min-SNR weighting (SD 1.5, SDXL); 0: none"
    )
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of the averaged weights, which are then the ones kept; 0: none",
    )
    optimizer: OptimizerName = Field(
        "adamw", description="adamw8bit needs bitsandbytes, prodigy needs prodigyopt"
    )
    use_rslora: bool = Field(False, description="scale by alpha / sqrt(rank): for ranks above 32")
    use_dora: bool = Field(
        False, description="learn magnitudes apart from directions: slower, for very low ranks"
    )
    prior_loss_weight: float = Field(
        0.0,
        ge=0,
        le=10,
        description="weight of class pictures in the loss, against forgetting others; 0: none",
    )
    num_class_images: int = Field(
        24,
        ge=1,
        le=400,
        description="class pictures that the base model draws, when prior_loss_weight is not 0",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="compute twice instead of remembering: half of the memory, a third "
        "slower; None: as the card needs",
    )
    quantization: Quantization = Field(
        "none",
        description="how the base model is stored while training: none, fp8, nf4 (CUDA); "
        "None: as the card needs",
    )
    compile: bool = Field(
        False, description="compile the repeated blocks: pays on a GPU from some hundred steps on"
    )
    processes: int = Field(
        1, ge=1, le=16, description="processes that share each batch, each with a GPU of its own"
    )
    training_adapter: str = Field(
        "",
        description="file of a LoRA that undoes a distilled model's distillation while it is "
        "trained: the LoRA is then trained on the distilled model, and not on its base",
    )
    targets: tuple[str, ...] = Field(min_length=1, description="names of the layers that learn")
    timestep_mean: float = Field(
        0.0, ge=-5, le=5, description="mean of the logit-normal of training noise levels"
    )
    timestep_spread: float = Field(1.0, gt=0, le=5, description="spread of that logit-normal")
    timestep_uniform: float = Field(
        1.0, ge=0, le=1, description="share of training noise levels drawn evenly"
    )

    def recorded(self) -> dict[str, Any]:
        """Return what the fingerprint of a checkpoint says of them: the names of the first release,
        without what acts on the data set alone, which is a part of its own, and without an adapter
        where there is none.
        """
        left_out = {"num_class_images"} | (set() if self.training_adapter else {"training_adapter"})
        return with_former_names(self.model_dump(exclude=left_out), LORA_SETTINGS)

    def with_values(self, values: Mapping[str, Any]) -> LoraHyperparameters:
        """Return a copy with `values`, which are checked already; None leaves a field as it is.

        Prodigy finds the learning rate itself and takes the setting as a factor: it is 1 when none
        is given. Raises GenerationError for a batch that the processes cannot share evenly.
        """
        given = {name: value for name, value in values.items() if value is not None}
        if given.get("optimizer") == "prodigy":
            given.setdefault("learning_rate", 1.0)
        merged = self.model_copy(update=given)
        if merged.batch_size % merged.processes:
            raise GenerationError(
                f"batch_size: {merged.batch_size} pictures cannot be shared evenly by "
                f"{merged.processes} processes. "
                "Give a multiple of processes."
            )
        return merged


# What a preset decides, in the order in which manifests list it: the fields of `lora_*` overrides.
DECIDED_BY_PRESET = (
    "rank",
    "alpha",
    "learning_rate",
    "max_train_steps",
    "batch_size",
    "targets",
    "face_weight",
    "snr_gamma",
    "ema",
    "evaluate_every",
    "timestep_mean",
    "timestep_spread",
    "timestep_uniform",
)
# What the memory of the device decides where a run does not say it.
DECIDED_BY_DEVICE = ("gradient_checkpointing", "quantization")


def override_name(field: str) -> str:
    """Return what a preset's override calls a hyperparameter: `lora_rank`, but `timestep_mean`."""
    return field if field.startswith("timestep_") else f"lora_{field}"


def optional_overrides(base: type[BaseModel]) -> type[BaseModel]:
    """Return `base` with the hyperparameters that a preset decides, all None by default, each
    called by its `override_name`.
    """
    fields = {override_name(name): _optional(name) for name in DECIDED_BY_PRESET}
    return _extended("LoraOverrides", base, fields)


def optional_settings(base: type[BaseModel], left_out: Iterable[str]) -> type[BaseModel]:
    """Return `base` with all hyperparameters but those `left_out`.

    None stands for what the preset or the device decides; the others have their own defaults, so
    that a manifest says all of them.
    """
    open_ = (*DECIDED_BY_PRESET, *DECIDED_BY_DEVICE)
    fields = {
        name: _optional(name) if name in open_ else (field.annotation, field)
        for name, field in LoraHyperparameters.model_fields.items()
        if name not in left_out
    }
    return _extended("LoraSettings", base, fields)


def _optional(name: str) -> tuple[Any, FieldInfo]:
    """Return the type and the field of a hyperparameter that may be None, its range unchanged."""
    field = copy(LoraHyperparameters.model_fields[name])
    annotation: Any = field.annotation
    field.annotation, field.default = annotation | None, None
    return annotation | None, field


def _extended(
    name: str, base: type[BaseModel], fields: Mapping[str, tuple[Any, FieldInfo]]
) -> type[BaseModel]:
    made: type[BaseModel] = create_model(name, __base__=base, **dict(fields))  # type: ignore[call-overload]
    return made
