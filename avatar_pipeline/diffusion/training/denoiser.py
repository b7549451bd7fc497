"""The denoiser made trainable, and made as it was again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from avatar_pipeline.core.errors import GenerationError, ModelError
from avatar_pipeline.diffusion.fp8 import store_in_fp8
from avatar_pipeline.diffusion.hyperparameters import LoraHyperparameters
from avatar_pipeline.diffusion.lora import ADAPTER
from avatar_pipeline.diffusion.lora.insert import remove_adapters
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.diffusion.training.attention import TrainedAttention
from avatar_pipeline.diffusion.training.effective_weights import use_effective_weights
from avatar_pipeline.diffusion.training.optimizer import optional_package
from avatar_pipeline.diffusion.training.training_adapter import (
    TrainingAdapter,
    training_adapter,
)


class Trainable:
    """A denoiser with a fresh LoRA in it.

    masters: the LoRA's weights in float32, which the optimizer changes. Where the model computes in
    another precision, its own copies are rounded from them after each step (`sync_from_master`):
    updates smaller than the rounding still add up. adapter: what is in the weights while steps are
    taken.
    """

    def __init__(
        self,
        denoiser: Any,
        parameters: list[torch.nn.Parameter],
        where: str,
        adapter: TrainingAdapter,
    ) -> None:
        self.denoiser = denoiser
        self.adapter = adapter
        self.parameters = parameters
        self.apart = parameters[0].dtype != torch.float32
        self.masters: list[torch.Tensor] = (
            [
                parameter.detach().to(where, torch.float32).requires_grad_()
                for parameter in parameters
            ]
            if self.apart
            else list(parameters)
        )

    def gather_gradients(self) -> None:
        """Add the gradients of the model's copies to the masters', after each backward pass: sums
        in half precision lose what is small.
        """
        if not self.apart:
            return
        for master, parameter in zip(self.masters, self.parameters, strict=True):
            if parameter.grad is not None:
                gradient = parameter.grad.float()
                master.grad = gradient if master.grad is None else master.grad + gradient
                parameter.grad = None

    def sync_from_master(self) -> None:
        """Give the model the masters' values."""
        if self.apart:
            with torch.no_grad():
                for master, parameter in zip(self.masters, self.parameters, strict=True):
                    parameter.copy_(master)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the LoRA's weights in float32 by PEFT's names."""
        from peft.utils import get_peft_model_state_dict

        names = {
            id(parameter): master
            for parameter, master in zip(self.parameters, self.masters, strict=True)
        }
        full = {
            name: names.get(id(value), value) for name, value in self.denoiser.named_parameters()
        }
        state = get_peft_model_state_dict(self.denoiser, state_dict=full, adapter_name=ADAPTER)
        return {name: value.detach().to("cpu").contiguous() for name, value in state.items()}


@contextmanager
def trainable(
    session: PipelineSession, hyperparameters: LoraHyperparameters, seed: int
) -> Iterator[Trainable]:
    """Put a fresh LoRA into the session's denoiser while the block runs.

    Afterwards the base model is as it was; after a quantized training the session has dropped it,
    and loads it again when it is used. Raises ModelError for a distilled model, GenerationError for
    hyperparameters that exclude each other.
    """
    if not hyperparameters.training_adapter:
        _refuse_distilled(session)
    elif hyperparameters.quantization != "none":
        raise GenerationError(
            "training_adapter and quantization do not go together: the adapter is in the base "
            "weights while steps are taken. Use quantization: none."
        )
    if hyperparameters.use_dora and hyperparameters.quantization == "fp8":
        raise GenerationError(
            "use_dora and quantization: fp8 do not go together: DoRA needs the base weights in "
            "full. "
            "Use quantization: none or nf4."
        )
    if hyperparameters.quantization == "nf4":
        _load_in_nf4(session)
    if session.plan and session.plan.offload == "group":
        raise ModelError(
            f"{session.preset.name} is too large to be trained on {session.device_name}: it only "
            "draws there layer by layer. Install "
            "bitsandbytes, which allows nf4, or choose a smaller preset or a larger card."
        )
    with training_adapter(session, hyperparameters.training_adapter) as adapter:
        yield from _with_lora(session, hyperparameters, seed, adapter)


def _with_lora(
    session: PipelineSession,
    hyperparameters: LoraHyperparameters,
    seed: int,
    adapter: TrainingAdapter,
) -> Iterator[Trainable]:
    """Yield the denoiser with a fresh LoRA in it; take that out at the end."""
    denoiser = session.denoiser
    compiled: list[Any] = []
    processors: dict[str, Any] = {}
    try:
        parameters = _add_adapter(denoiser, hyperparameters, seed, session.device.dtype)
        if hyperparameters.quantization == "fp8":
            store_in_fp8(denoiser)
        if session.device.kind == "cpu":
            processors = _compute_for_cpu(denoiser)
        if hyperparameters.gradient_checkpointing:
            denoiser.enable_gradient_checkpointing()
        if hyperparameters.compile:
            denoiser.compile_repeated_blocks()
            compiled = [
                module
                for module in denoiser.modules()
                if getattr(module, "_compiled_call_impl", None) is not None
            ]
        yield Trainable(denoiser, parameters, session.device.where, adapter)
    finally:
        for module in compiled:
            module._compiled_call_impl = None
        if hyperparameters.quantization != "none":
            session.close()
        else:
            if hyperparameters.gradient_checkpointing:
                denoiser.disable_gradient_checkpointing()
            remove_adapters(denoiser)
            if processors:
                denoiser.set_attn_processor(processors)


@contextmanager
def encoders_offloaded(session: PipelineSession) -> Iterator[None]:
    """Keep the denoiser on the card, text encoders and autoencoder off it while the block runs:
    training has no use for them.

    Model offload, which would bring the denoiser in and out, rests meanwhile. On a CPU there is
    nowhere to go.
    """
    pipeline: Any = session.pipeline
    with session.loaded.unhooked():
        parts = [getattr(pipeline, name, None) for name in (*session.family.TEXT_ENCODERS, "vae")]
        moved = [part for part in parts if part is not None and part.device.type == "cuda"]
        for part in moved:
            part.to("cpu")
        session.denoiser.to(session.device.where)
        if moved:
            torch.cuda.empty_cache()
        try:
            yield
        finally:
            for part in moved:
                part.to(session.device.where)


def _add_adapter(
    denoiser: Any, hyperparameters: LoraHyperparameters, seed: int, dtype: torch.dtype
) -> list[torch.nn.Parameter]:
    """Add a fresh LoRA and return its weights: in the model's precision on a GPU, in float32
    elsewhere.
    """
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig

    denoiser.requires_grad_(False)
    torch.manual_seed(seed)  # PEFT draws the initial weights from the global generator
    config = LoraConfig(
        r=hyperparameters.rank,
        lora_alpha=hyperparameters.alpha,
        init_lora_weights="gaussian",
        target_modules=target_modules(denoiser, hyperparameters.targets),
        use_rslora=hyperparameters.use_rslora,
        use_dora=hyperparameters.use_dora,
    )
    try:
        denoiser.add_adapter(config, adapter_name=ADAPTER)
    except ValueError as error:
        raise ModelError(
            f"the LoRA cannot be added to {type(denoiser).__name__}: {error}."
        ) from error
    cast_training_params(denoiser, dtype=dtype)
    if type(denoiser).__name__.startswith("UNet"):
        # the fresh weights too: a tenth of the time on a CPU
        denoiser.to(memory_format=torch.channels_last)
    # The fused optimizer goes through weights and its state as they lie in memory, and a checkpoint
    # gives the state back contiguous; DoRA takes views of them as matrices (peft.tuners.lora.dora).
    for parameter in denoiser.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.contiguous()
    return [parameter for parameter in denoiser.parameters() if parameter.requires_grad]


def _refuse_distilled(session: PipelineSession) -> None:
    """Raise ModelError for a model that draws in few steps because it was distilled: a LoRA that is
    trained on it learns somebody generic.
    """
    preset = session.preset
    base = preset.base.model_id if preset.base else ""
    if preset.draw_with == "distilled" or session.family.is_distilled(session.pipeline):
        raise ModelError(
            f"no LoRA can be trained on {preset.model_id}: it is distilled. Train on its base, "
            f"{base}: give that model's folder, or OWNER/NAME@REVISION, as training_model; or give "
            "a training_adapter."
        )


def target_modules(denoiser: Any, targets: Sequence[str]) -> list[str]:
    """Return what PEFT is to put a LoRA on: `targets`, names or their ends, as they are; all names
    in full where an end is that of a list of layers too (FLUX.2's `attn.to_out`).
    """
    found = {
        name: isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))
        for name, module in denoiser.named_modules()
        if any(name == target or name.endswith(f".{target}") for target in targets)
    }
    return (
        list(targets) if all(found.values()) else [name for name, layer in found.items() if layer]
    )


def _compute_for_cpu(denoiser: Any) -> dict[str, Any]:
    """Have layers and a U-Net's attention computed in the ways that are fast on a CPU; returns the
    attention's processors that were there.
    """
    use_effective_weights(denoiser)
    if not type(denoiser).__name__.startswith("UNet"):
        return {}
    processors = dict(denoiser.attn_processors)
    denoiser.set_attn_processor(TrainedAttention())
    return processors


def _load_in_nf4(session: PipelineSession) -> None:
    """Put the denoiser, loaded in four bits, into the session's pipeline. Raises ModelError without
    CUDA or bitsandbytes.
    """
    if session.device.kind != "cuda":
        raise ModelError(
            "quantization: nf4 needs a CUDA device. Use quantization: fp8, which works everywhere, "
            "or none."
        )
    optional_package("bitsandbytes", "quantization: nf4", "quantization: fp8")
    from diffusers import BitsAndBytesConfig

    pipeline: Any = session.pipeline
    name = session.family.DENOISER
    kind = type(getattr(pipeline, name))
    setattr(pipeline, name, None)  # never both at once
    torch.cuda.empty_cache()
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=session.device.dtype
    )
    loaded = kind.from_pretrained(
        session.model,
        subfolder=name,
        quantization_config=config,
        torch_dtype=session.device.dtype,
        use_safetensors=True,
    )
    setattr(pipeline, name, loaded)
