"""The loaded models of one run: each is loaded once, whatever number of stages uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from avatar_pipeline.core.errors import GenerationError, ModelError
from avatar_pipeline.diffusion.callbacks import Watch
from avatar_pipeline.diffusion.device import Device, Usage, choose_device, free_memory_gib, turn
from avatar_pipeline.diffusion.families import Family, get_family
from avatar_pipeline.diffusion.identity import IdentityAdapter, load_adapter
from avatar_pipeline.diffusion.licences import require_licence
from avatar_pipeline.diffusion.lora_loading import ADAPTER, lora_in
from avatar_pipeline.diffusion.memory import (
    Plan,
    TrainingPlan,
    drawing_plan,
    next_plan,
    training_plan,
)
from avatar_pipeline.diffusion.offload import apply_plan, has_nf4, nf4_config
from avatar_pipeline.diffusion.out_of_memory import first_line, is_out_of_memory
from avatar_pipeline.diffusion.presets import Preset, with_model
from avatar_pipeline.diffusion.quiet import quiet_libraries
from avatar_pipeline.diffusion.schedulers import put_scheduler
from avatar_pipeline.diffusion.weights import (
    check_model_folder,
    count_parameters,
    locate_model,
    model_sha256,
    variant_of,
)

__all__ = ["ADAPTER", "GpuSession"]
T = TypeVar("T")


class GpuSession:
    """A preset's pipeline on a device. Nothing is loaded before it is used; `close` frees it.

    `model` is a folder or hub id to use instead of the preset's own. `shared` is a session with the
    same weights, whose pipelines are used.
    plan_history: in words, how the pipeline has been held so far; more than one entry after an
    out-of-memory.
    """

    def __init__(
        self,
        preset: Preset,
        device: str = "auto",
        model: str | None = None,
        *,
        shared: GpuSession | None = None,
    ) -> None:
        self.preset = with_model(preset, model) if model else preset
        self.log: Callable[[str], None] = lambda line: None
        self.watch: Watch | None = None  # sees every step of every drawing
        # called at every step of a training; may end it by an error
        self.allowed: Callable[[], None] = lambda: None
        self.plan_history: list[str] = shared.plan_history if shared else []
        self._wanted = device
        self._shared = shared
        self._plan: Plan | None = None
        self._counted = preset  # the preset with the folder's own numbers of weights

    @cached_property
    def device(self) -> Device:
        """The device in use. Raises ModelError when the one asked for is not usable."""
        if self._shared:
            return self._shared.device
        device = choose_device(self._wanted)
        if device.kind != "cuda":  # elsewhere the presets' half precisions are slow, or emulated
            return device
        import torch

        return replace(device, dtype=getattr(torch, self.preset.dtype))

    @property
    def device_name(self) -> str:
        """The device's kind and name, for people and manifests."""
        return f"{self.device.kind}: {self.device.name}"

    def turn(self, work: str = "") -> AbstractContextManager[Usage]:
        """Hold the device alone while the block runs; tells what that took. work: what for, in
        words, for those who wait.
        """
        return turn(self.device, work, self.log)

    @cached_property
    def model(self) -> Path:
        """The folder of the weights. Raises ModelError when they have not been fetched."""
        return locate_model(self.preset)

    @property
    def model_sha256(self) -> str:
        """Digest of the model's files."""
        return model_sha256(self.model, self.preset)

    @property
    def plan(self) -> Plan | None:
        """How the pipeline is held; None before it is loaded."""
        return self._shared.plan if self._shared else self._plan

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
        """The text-to-image pipeline, held as the memory plan says.

        Raises ModelError when the licence has not been accepted, the weights are missing or
        damaged, or nothing fits the device.
        """
        return self._shared.pipeline if self._shared else self._load()

    def _load(self) -> Any:
        require_licence(self.preset)
        family = check_model_folder(self.model, self.preset)
        import torch

        quiet_libraries()
        import diffusers

        # diffusers loads the bundled model's own autoencoder class only from a module that is
        # already imported: by the address that its model_index.json gives.
        import_module("avatar_pipeline.embedded.autoencoder")

        # the folder's own weights, not the table's: another model of the family may be larger or
        # smaller
        self._counted = replace(self.preset, parameters=count_parameters(self.model, family))
        on_cpu = self.device.kind == "cpu"
        plan = drawing_plan(
            self._counted,
            free_memory_gib(self.device),
            on_cpu=on_cpu,
            nf4=has_nf4(self.device.kind),
        )
        # SD 1.5's safety checker is left out: it is 1.2 GB more that answers false alarms on plain
        # portraits with a black picture. What is drawn here is one described or consenting person,
        # and every picture goes through the checks of the pipeline.
        extra: dict[str, Any] = (
            {"safety_checker": None, "requires_safety_checker": False} if family == "sd" else {}
        )
        if plan.quantise == "nf4":
            extra["quantization_config"] = nf4_config(self.family.DENOISER, self.device.dtype)
        try:
            pipeline = getattr(diffusers, self.family.PIPELINE).from_pretrained(
                self.model,
                # in bfloat16 flat walls show steps: the VAE stays in float32
                dtype={"vae": torch.float32, "default": self.device.dtype},
                variant=variant_of(self.model, family).lstrip(".") or None,
                local_files_only=True,
                use_safetensors=True,
                **extra,
            )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise ModelError(
                f"the model in {self.model} cannot be loaded: {error}. Fetch or save it again."
            ) from error
        self._check_whole(pipeline)
        put_scheduler(pipeline, self.preset)
        pipeline.set_progress_bar_config(disable=True)
        if self.family.DENOISER == "unet":
            pipeline.unet.to(memory_format=torch.channels_last)
        self._hold([pipeline], plan)
        return pipeline

    def _check_whole(self, pipeline: Any) -> None:
        """Raise ModelError when files have fewer weights than their configuration asks for: the
        libraries fill some up at random.
        """
        for part, millions in self._counted.parameters.items():
            weights = list(getattr(pipeline, part).parameters())
            wanted = sum(tensor.numel() for tensor in weights) / 1e6
            # four bits are packed in bytes
            quantised = any(not tensor.is_floating_point() for tensor in weights)
            if any(tensor.is_meta for tensor in weights) or (
                millions < 0.999 * wanted and not quantised
            ):
                raise ModelError(
                    f"the model in {self.model} cannot be loaded: the weights of its {part} do "
                    "not fit its configuration, which asks for "
                    f"{wanted:.1f} million numbers; {millions:.1f} are there. Fetch or save it "
                    "again."
                )

    def _hold(self, pipelines: list[Any], plan: Plan) -> None:
        apply_plan(pipelines, getattr(pipelines[0], self.family.DENOISER), plan, self.device.where)
        self._plan = plan
        self.note(plan.describe())

    @cached_property
    def image_pipeline(self) -> Any:
        """The image-to-image pipeline; it shares every weight with `pipeline`."""
        if self._shared:
            return self._shared.image_pipeline
        loaded = self.pipeline
        from diffusers import AutoPipelineForImage2Image

        pipeline = AutoPipelineForImage2Image.from_pipe(loaded)
        pipeline.set_progress_bar_config(disable=True)
        if self._plan and self._plan.offload == "model":
            apply_plan([loaded, pipeline], self.denoiser, self._plan, self.device.where)
        return pipeline

    def training_plan(self, rank: int, batch_size: int) -> TrainingPlan:
        """How a LoRA can be trained in the device's memory. Raises ModelError when it cannot."""
        parts = [part for part in self.pipeline.components.values() if hasattr(part, "parameters")]
        # what the loaded parts hold on the device is theirs in training too
        held = sum(
            w.numel() * w.element_size()
            for part in parts
            for w in part.parameters()
            if w.device.type == self.device.kind
        )
        return training_plan(
            (self._shared or self)._counted,
            free_memory_gib(self.device) + held / 2**30,
            rank=rank,
            batch_size=batch_size,
            on_cpu=self.device.kind == "cpu",
            nf4=has_nf4(self.device.kind),
        )

    def note(self, words: str) -> str:
        """Record how the device is used, for log and manifest; returns the words."""
        self.plan_history.append(words)
        self.log(f"{self.preset.name} on {self.device_name}: {words}")
        return words

    def attempt(self, work: Callable[[], T], step_down: Callable[[], str] | None = None) -> T:
        """What `work` returns. When it runs out of memory, step down once to what needs less, and
        run it again from its start.

        step_down: takes the step and says in words what it was, for work that has its own way of
        saving memory, as training has; the next memory plan of the pipeline when None. What was
        done is in `plan_history`. Raises GenerationError when there is nothing to step down to, or
        memory runs out again.
        """
        try:
            return work()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            fault = first_line(error)
        # Here, and not in the handler, whose exception would keep alive the tensors of the frames
        # it came through.
        self._free()
        words = step_down() if step_down else self._step_down(fault)
        self.log(f"out of memory on {self.device_name}: goes on with {words}")
        try:
            return work()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            fault = first_line(error)
        self._free()
        raise self._too_large(f"out of memory twice, the second time with {words}: {fault}")

    def _step_down(self, fault: str) -> str:
        if self._shared:
            return self._shared._step_down(fault)
        plan = (
            next_plan(self._counted, self._plan, on_cpu=self.device.kind == "cpu")
            if self._plan
            else None
        )
        if plan is None:
            raise self._too_large(
                f"out of memory, and nothing is left that would need less: {fault}"
            )
        self._hold(self._loaded(), replace(plan, free_gib=free_memory_gib(self.device)))
        return plan.mode

    def _too_large(self, fault: str) -> GenerationError:
        return GenerationError(
            f"{self.device_name}: {fault}. Draw smaller pictures (width, height), train in "
            "smaller batches (batch_size), end what else "
            f"uses the device, or choose a smaller preset than {self.preset.name}."
        )

    def _free(self) -> None:
        import gc

        import torch

        gc.collect()
        if self.device.kind == "cuda":
            torch.cuda.empty_cache()

    def identity_fault(self, analyzer: str) -> str | None:
        """Why a face that the analyzer of this name has measured cannot be given to the model; None
        when it can.
        """
        wanted, adapter = self.preset.identity_analyzer, self.preset.identity_adapter
        if not adapter:
            return f"the preset {self.preset.name} has no face-identity input"
        if wanted and analyzer != wanted:
            return (
                f"the preset {self.preset.name} takes faces as {wanted} measures them, and the "
                f"analyzer is {analyzer}"
            )
        if not (self.model / adapter).is_file():
            return f"the model in {self.model} has no {adapter}"
        return None

    @cached_property
    def identity_adapter(self) -> IdentityAdapter:
        """The model's face-identity input. Raises ModelError when it has none."""
        if not self.preset.identity_adapter:
            raise ModelError(
                f"the preset {self.preset.name} has no face-identity input. Draw "
                "without an identity."
            )
        return load_adapter(self.pipeline, self.model, self.preset.identity_adapter)

    def lora(self, weights: bytes) -> AbstractContextManager[None]:
        """Use a LoRA, given as the bytes of its safetensors file (diffusers' names or kohya's),
        while the block runs.

        Raises ModelError for a pickle, a damaged file, a LoRA of another family, and one of which
        something does not fit the model. The session is as before after the block and after any
        error.
        """
        return lora_in(self, weights)

    @contextmanager
    def unhooked(self) -> Iterator[None]:
        """Model offload rests while the block runs: a LoRA is put in, for which diffusers would
        hang its hooks up again on one of the pipelines only, or the denoiser is trained.
        """
        owner = self._shared or self
        if owner.plan is None or owner.plan.offload != "model":
            yield
            return
        loaded = owner._loaded()
        for pipeline in loaded:
            pipeline.remove_all_hooks()
        try:
            yield
        finally:
            apply_plan(loaded, owner.denoiser, owner.plan, owner.device.where)

    def _loaded(self) -> list[Any]:
        return [
            self.__dict__[name] for name in ("pipeline", "image_pipeline") if name in self.__dict__
        ]

    def close(self) -> None:
        """Drop the loaded models and give their memory back."""
        loaded: dict[str, Any] = self.__dict__
        dropped = [
            loaded.pop(name, None) for name in ("identity_adapter", "image_pipeline", "pipeline")
        ]
        self._plan = None
        if any(part is not None for part in dropped) and not self._shared:
            del dropped
            self._free()
