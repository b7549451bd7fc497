"""The pipelines of one model on one device: loaded at first use, held as the memory plan says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from avatar_pipeline.diffusion.device import Device, choose_device, free_memory_gib, release_heap
from avatar_pipeline.diffusion.families import Family, get_family
from avatar_pipeline.diffusion.identity_adapter import IdentityAdapter, load_adapter
from avatar_pipeline.diffusion.licences import require_licence
from avatar_pipeline.diffusion.loading import load_pipeline
from avatar_pipeline.diffusion.memory import Plan, inference_plan, next_plan
from avatar_pipeline.diffusion.offload import apply_plan, has_nf4
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.training_memory import TrainingPlan, training_plan
from avatar_pipeline.diffusion.weights import check_model_folder, count_parameters, locate_model

Log = Callable[[str], None]


class LoadedPipeline:
    """The pipelines of a preset's weights. Every session with the same weights uses the same one.

    wanted: "auto", "cuda", "cuda:1", "mps" or "cpu". plan_history: in words, how the pipeline has
    been held so far; more than one entry after an out-of-memory.
    """

    def __init__(self, preset: Preset, wanted: str = "auto") -> None:
        self.preset = preset
        self.plan: Plan | None = None
        self.plan_history: list[str] = []
        self._wanted = wanted
        self._counted = preset  # the preset with the folder's own numbers of weights
        self._text_to_image: Any = None
        self._image_to_image: Any = None
        self._adapters: dict[str, IdentityAdapter] = {}
        self._words_changed = 0

    @cached_property
    def device(self) -> Device:
        """The device in use. Raises ModelError when the one asked for is not usable."""
        device = choose_device(self._wanted)
        if device.kind != "cuda":  # elsewhere the presets' half precisions are slow, or emulated
            return device
        import torch

        return replace(device, dtype=getattr(torch, self.preset.dtype))

    @property
    def device_name(self) -> str:
        """The device's kind and name, for people and manifests."""
        return f"{self.device.kind}: {self.device.name}"

    @cached_property
    def folder(self) -> Path:
        """The folder of the weights. Raises ModelError when they have not been fetched."""
        return locate_model(self.preset)

    @cached_property
    def family(self) -> Family:
        """What the preset's family does its own way."""
        return get_family(self.preset.family)

    def text_to_image(self, log: Log) -> Any:
        """Return the text-to-image pipeline, held as the memory plan says; load it at first use.

        Raises ModelError when the licence has not been accepted, the weights are missing or
        damaged, or nothing fits the device.
        """
        if self._text_to_image is None:
            require_licence(self.preset)
            # the folder's own weights, not the table's: another model of the family may be larger
            # or smaller
            family = check_model_folder(self.folder, self.preset)
            self._counted = replace(self.preset, parameters=count_parameters(self.folder, family))
            plan = inference_plan(
                self._counted,
                free_memory_gib(self.device),
                cpu=self.device.cpu_precision,
                nf4=has_nf4(self.device.kind),
            )
            pipeline = load_pipeline(self._counted, self.folder, self.device, plan)
            self._text_to_image = pipeline
            try:
                self.hold(plan, log)
            except BaseException:
                self._text_to_image = None
                raise
        return self._text_to_image

    def image_to_image(self, log: Log) -> Any:
        """Return the pipeline that redraws pictures: the family's image-to-image class on the
        weights of the text-to-image one, or that one itself.
        """
        if not self.family.REDRAWS:
            return self.text_to_image(log)
        if self._image_to_image is None:
            loaded = self.text_to_image(log)
            from diffusers import AutoPipelineForImage2Image

            pipeline = AutoPipelineForImage2Image.from_pipe(loaded)
            pipeline.set_progress_bar_config(disable=True)
            self._image_to_image = pipeline
            if self.plan and self.plan.offload == "model":
                self._apply(self.plan)
        return self._image_to_image

    def identity_adapter(self, file: str, log: Log) -> IdentityAdapter:
        """Return the face-identity input in `file` of the model's folder."""
        if file not in self._adapters:
            self._adapters[file] = load_adapter(self.text_to_image(log), self.folder, file)
        return self._adapters[file]

    def denoiser(self, log: Log) -> Any:
        """Return the part of the pipeline that is trained: a U-Net or a transformer."""
        return getattr(self.text_to_image(log), self.family.DENOISER)

    def training_plan(self, rank: int, batch_size: int, log: Log) -> TrainingPlan:
        """Plan how a LoRA can be trained in the device's memory. Raises ModelError when it cannot.

        rank: of the LoRA. batch_size: images per forward pass of one process.
        """
        components = self.text_to_image(log).components.values()
        # what the loaded parts hold on the device is theirs in training too
        held = sum(
            weight.numel() * weight.element_size()
            for part in components
            if hasattr(part, "parameters")
            for weight in part.parameters()
            if weight.device.type == self.device.kind
        )
        return training_plan(
            self._counted,
            free_memory_gib(self.device) + held / 2**30,
            rank=rank,
            batch_size=batch_size,
            cpu=self.device.cpu_precision,
            nf4=has_nf4(self.device.kind),
        )

    def hold(self, plan: Plan, log: Log) -> None:
        """Hold what is loaded as `plan` says, and record it."""
        self._apply(plan)
        self.plan = plan
        self.note(plan.describe(), log)

    @property
    def words_changed(self) -> bool:
        """Whether a LoRA has changed how prompts are read: nothing encoded meanwhile may be
        kept.
        """
        return self._words_changed > 0

    def change_words(self) -> Callable[[], None]:
        """Say that a LoRA changes how prompts are read; return what says that it has ended."""
        self._words_changed += 1

        def ended() -> None:
            self._words_changed -= 1

        return ended

    def step_down(self, log: Log) -> Plan | None:
        """Hold what is loaded by the next plan that needs less memory; None when there is none."""
        plan = (
            next_plan(self._counted, self.plan, cpu=self.device.cpu_precision)
            if self.plan
            else None
        )
        if plan is not None:
            self.hold(replace(plan, free_gib=free_memory_gib(self.device)), log)
        return plan

    def note(self, words: str, log: Log) -> str:
        """Record how the device is used, for log and manifest; return the words."""
        self.plan_history.append(words)
        log(f"{self.preset.name} on {self.device_name}: {words}")
        return words

    @contextmanager
    def unhooked(self) -> Iterator[None]:
        """Take model offload's hooks off while the block runs: a LoRA is put in, for which
        diffusers would put its hooks back on one of the pipelines only, or the denoiser is trained.
        """
        plan = self.plan
        if plan is None or plan.offload != "model":
            yield
            return
        for pipeline in self._pipelines():
            pipeline.remove_all_hooks()
        try:
            yield
        finally:
            self._apply(plan)

    def free_memory(self) -> None:
        """Give memory that nothing refers to any more back to the device."""
        import gc

        import torch

        gc.collect()
        if self.device.kind == "cuda":
            torch.cuda.empty_cache()
        elif self.device.kind == "cpu":
            release_heap()

    def close(self) -> None:
        """Drop the loaded models and give their memory back."""
        had = self._pipelines()
        self._adapters.clear()
        self._image_to_image = self._text_to_image = None
        self.plan = None
        if had:
            del had
            self.free_memory()

    def _apply(self, plan: Plan) -> None:
        loaded = self._pipelines()
        apply_plan(loaded, getattr(loaded[0], self.family.DENOISER), plan, self.device.where)

    def _pipelines(self) -> list[Any]:
        return [one for one in (self._text_to_image, self._image_to_image) if one is not None]
