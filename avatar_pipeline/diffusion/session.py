"""What a run draws and trains with: a preset, the loaded pipeline, and whom to ask and notify."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.callbacks import OnStep
from avatar_pipeline.diffusion.device import Device, Usage, turn
from avatar_pipeline.diffusion.families import Family
from avatar_pipeline.diffusion.identity_adapter import IdentityAdapter
from avatar_pipeline.diffusion.identity_reference import ReferenceIdentity
from avatar_pipeline.diffusion.loaded import LoadedPipeline
from avatar_pipeline.diffusion.memory import Plan
from avatar_pipeline.diffusion.model_choice import with_model
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.training_memory import TrainingPlan
from avatar_pipeline.diffusion.weights_digest import model_sha256


def _no_log(line: str) -> None:
    pass


def _always_allowed() -> None:
    pass


@dataclass(frozen=True, eq=False)
class PipelineSession:
    """A preset on a loaded pipeline. It never changes; `dataclasses.replace` makes another one.

    loaded: shared by all sessions with the same weights. log: takes one line. on_step: sees every
    denoising step, and ends the work by raising. check_consent: called at every training step;
    raises once consent does not hold any more.
    """

    preset: Preset
    loaded: LoadedPipeline
    log: Callable[[str], None] = _no_log
    on_step: OnStep | None = None
    check_consent: Callable[[], None] = _always_allowed

    @property
    def device(self) -> Device:
        """The device in use. Raises ModelError when the one asked for is not usable."""
        return self.loaded.device

    @property
    def device_name(self) -> str:
        """The device's kind and name, for people and manifests."""
        return self.loaded.device_name

    @property
    def model(self) -> Path:
        """The folder of the weights. Raises ModelError when they have not been fetched."""
        return self.loaded.folder

    @property
    def model_sha256(self) -> str:
        """Digest of the model's files."""
        return model_sha256(self.model, self.preset)

    @property
    def family(self) -> Family:
        """What the preset's family does its own way."""
        return self.loaded.family

    @property
    def plan(self) -> Plan | None:
        """How the pipeline is held; None before it is loaded."""
        return self.loaded.plan

    @property
    def plan_history(self) -> list[str]:
        """In words, how the pipeline has been held so far."""
        return self.loaded.plan_history

    @property
    def pipeline(self) -> Any:
        """The text-to-image pipeline. Raises ModelError as LoadedPipeline.text_to_image does."""
        return self.loaded.text_to_image(self.log)

    @property
    def image_pipeline(self) -> Any:
        """The image-to-image pipeline; it shares every weight with `pipeline`."""
        return self.loaded.image_to_image(self.log)

    @property
    def denoiser(self) -> Any:
        """The part of the pipeline that is trained: a U-Net or a transformer."""
        return self.loaded.denoiser(self.log)

    @property
    def identity_adapter(self) -> IdentityAdapter | ReferenceIdentity:
        """The model's face-identity input. Raises ModelError when it has none."""
        if self.preset.takes_references:
            return ReferenceIdentity(self.family.DENOISER)
        if not self.preset.identity_adapter:
            raise ModelError(
                f"the preset {self.preset.name} has no face-identity input. Draw without an "
                "identity."
            )
        return self.loaded.identity_adapter(self.preset.identity_adapter, self.log)

    def training_plan(self, rank: int, batch_size: int) -> TrainingPlan:
        """Plan how a LoRA can be trained in the device's memory. Raises ModelError when it
        cannot.
        """
        return self.loaded.training_plan(rank, batch_size, self.log)

    def note(self, words: str) -> str:
        """Record how the device is used, for log and manifest; return the words."""
        return self.loaded.note(words, self.log)

    def device_lock(self, work: str = "") -> AbstractContextManager[Usage]:
        """Hold the device alone while the block runs; the Usage says what that took.

        work: what for, in words, for those who wait.
        """
        return turn(self.device, work, self.log)

    def close(self) -> None:
        """Drop the loaded models and give their memory back."""
        self.loaded.close()


def open_session(preset: Preset, device: str = "auto", model: str | None = None) -> PipelineSession:
    """Return a session with a pipeline of its own. Nothing is loaded before it is used.

    device: "auto", "cuda", "cuda:1", "mps" or "cpu". model: a folder or hub id to use instead of
    the preset's own.
    """
    preset = with_model(preset, model) if model else preset
    return PipelineSession(preset, LoadedPipeline(preset, device))


def identity_fault(session: PipelineSession, analyzer: str) -> str | None:
    """Return why a face that the analyzer of this name has measured cannot be given to the model;
    None when it can.
    """
    preset = session.preset
    if preset.takes_references:
        return None
    if not preset.identity_adapter:
        return f"the preset {preset.name} has no face-identity input"
    if preset.identity_analyzer and analyzer != preset.identity_analyzer:
        return (
            f"the preset {preset.name} takes faces as {preset.identity_analyzer} measures them, "
            f"and the analyzer is {analyzer}"
        )
    if not (session.model / preset.identity_adapter).is_file():
        return f"the model in {session.model} has no {preset.identity_adapter}"
    return None
