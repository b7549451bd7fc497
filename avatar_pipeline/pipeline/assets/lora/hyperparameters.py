"""The hyperparameters of one training: the preset's, what a run or an actor changes, and what the
memory of the device needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avatar_pipeline.diffusion.hyperparameters import DECIDED_BY_DEVICE, LoraHyperparameters
from avatar_pipeline.diffusion.session import PipelineSession

if TYPE_CHECKING:
    from avatar_pipeline.pipeline.assets.lora.settings import Settings


def hyperparameters_of(settings: Settings, session: PipelineSession) -> LoraHyperparameters:
    """Return the preset's hyperparameters with the settings that are given."""
    given = settings.model_dump(include=set(LoraHyperparameters.model_fields))
    return session.preset.lora.with_values(given)


def as_planned(
    asked: LoraHyperparameters, settings: Settings, session: PipelineSession
) -> LoraHyperparameters:
    """Fill in what the settings leave open, as the memory of the device allows; what was planned is
    noted for the manifest.
    """
    if settings.gradient_checkpointing is not None and settings.quantization is not None:
        return asked
    plan = session.training_plan(asked.rank, asked.batch_size // asked.processes)
    planned: dict[str, Any] = {
        name: getattr(plan, name) for name in DECIDED_BY_DEVICE if getattr(settings, name) is None
    }
    session.note(f"training: {plan.describe()}")
    return asked.model_copy(update=planned)


def describe_saving(asked: LoraHyperparameters) -> str:
    """Return how memory is saved, in words."""
    return (
        f"gradient checkpointing {'on' if asked.gradient_checkpointing else 'off'}, base model "
        f"stored as {asked.quantization}"
    )
