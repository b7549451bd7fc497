"""The loaded models of one run: each is loaded once, whatever number of stages uses it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from avatar_pipeline.diffusion.device import Device, Usage, choose_device, turn
from avatar_pipeline.diffusion.families import Family, get_family
from avatar_pipeline.diffusion.identity import IdentityAdapter, load_adapter
from avatar_pipeline.diffusion.presets import Preset
from avatar_pipeline.diffusion.watch import Watch
from avatar_pipeline.diffusion.weights import check_model_folder, model_sha256
from avatar_pipeline.errors import ModelError

ADAPTER = "actor"
T = TypeVar("T")


class GpuSession:
    """A preset's pipeline on a device. Nothing is loaded before it is used; `close` frees it.

    `model` is a folder to use instead of the preset's own.
    """

    def __init__(self, preset: Preset, device: str = "auto", model: str | None = None) -> None:
        self.preset = preset
        self.model = Path(model or preset.model)
        self.watch: Watch | None = None  # sees every step of every drawing
        self._wanted = device

    @cached_property
    def device(self) -> Device:
        """The device in use. Raises ModelError when the one asked for is not usable."""
        return choose_device(self._wanted)

    @property
    def device_name(self) -> str:
        """The device's kind and name, for people and manifests."""
        return f"{self.device.kind}: {self.device.name}"

    def turn(self) -> AbstractContextManager[Usage]:
        """Hold the device alone while the block runs; tells what that took."""
        return turn(self.device)

    @property
    def model_sha256(self) -> str:
        """Digest of the model folder's files."""
        return model_sha256(self.model)

    @cached_property
    def family(self) -> Family:
        """What the preset's family does its own way."""
        return get_family(self.preset.family)

    @property
    def denoiser(self) -> Any:
        """The part of the pipeline that is trained: a U-Net or a transformer."""
        return getattr(self.pipeline, self.family.DENOISER)

    @cached_property
    def pipeline(self) -> Any:
        """The text-to-image pipeline. Raises ModelError when the folder is not a usable one."""
        import torch

        _quiet()
        import diffusers

        # diffusers loads the embedded model's own autoencoder class only from a module that is already imported.
        import avatar_pipeline.embedded.autoencoder  # noqa: F401

        check_model_folder(self.model)
        try:
            pipeline = getattr(diffusers, self.family.PIPELINE).from_pretrained(
                self.model, dtype=self.device.dtype, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ModelError(f"the model in {self.model} cannot be loaded: {error}. Fetch or save it again.") from error
        pipeline.to(self.device.kind)
        if self.family.DENOISER == "unet":
            pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @cached_property
    def image_pipeline(self) -> Any:
        """The image-to-image pipeline; it shares every weight with `pipeline`."""
        loaded = self.pipeline
        from diffusers import AutoPipelineForImage2Image

        pipeline = AutoPipelineForImage2Image.from_pipe(loaded)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def identity_fault(self, analyzer: str) -> str | None:
        """Why a face that the analyzer of this name has measured cannot be given to the model; None when it can."""
        wanted, adapter = self.preset.identity_analyzer, self.preset.identity_adapter
        if not adapter:
            return f"the preset {self.preset.name} has no face-identity input"
        if wanted and analyzer != wanted:
            return f"the preset {self.preset.name} takes faces as {wanted} measures them, and the analyzer is {analyzer}"
        if not (self.model / adapter).is_file():
            return f"the model in {self.model} has no {adapter}"
        return None

    @cached_property
    def identity_adapter(self) -> IdentityAdapter:
        """The model's face-identity input. Raises ModelError when it has none."""
        if not self.preset.identity_adapter:
            raise ModelError(f"the preset {self.preset.name} has no face-identity input. Draw without an identity.")
        return load_adapter(self.pipeline, self.model, self.preset.identity_adapter)

    @contextmanager
    def lora(self, weights: bytes) -> Iterator[None]:
        """Use a LoRA, given as the bytes of its safetensors file, while the block runs.

        Raises ModelError when the bytes are not a LoRA of this model family.
        """
        from safetensors import SafetensorError

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lora.safetensors"
            path.write_bytes(weights)
            try:
                self.pipeline.load_lora_weights(path, adapter_name=ADAPTER)
            except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
                raise ModelError(
                    f"the LoRA does not fit the model {self.preset.name}: {error}. Train it again: materialize lora."
                ) from error
        try:
            yield
        finally:
            self.pipeline.unload_lora_weights()

    def attempt(self, work: Callable[[], T]) -> T:
        """What `work` returns."""
        return work()

    def close(self) -> None:
        """Drop the loaded models and give their memory back."""
        loaded: dict[str, Any] = self.__dict__
        loaded.pop("identity_adapter", None)
        if loaded.pop("image_pipeline", None) or loaded.pop("pipeline", None):
            loaded.pop("pipeline", None)
            import gc

            import torch

            gc.collect()
            if self.device.kind == "cuda":
                torch.cuda.empty_cache()


def _quiet() -> None:
    """Keep the libraries' warnings about what is meant to be so out of the log: no torchvision, an autoencoder of our own, a LoRA
    without a text encoder's part. Errors still come through as exceptions.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
