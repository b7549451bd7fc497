"""A LoRA put into a session's denoiser, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.core.scratch import scratch_folder
from avatar_pipeline.diffusion.lora_files import MEND, check_lora
from avatar_pipeline.diffusion.offload import restore_lora
from avatar_pipeline.diffusion.out_of_memory import first_line, is_out_of_memory

if TYPE_CHECKING:
    from avatar_pipeline.diffusion.session import GpuSession

ADAPTER = "actor"  # its name in PEFT


@contextmanager
def lora_in(session: GpuSession, weights: bytes) -> Iterator[None]:
    """Load a LoRA from the bytes of its file, and unload it after the block or any error. Raises as
    GpuSession.lora does.
    """
    check_lora(weights, session.preset)
    from safetensors import SafetensorError

    pipeline = session.pipeline
    try:
        with session.unhooked(), scratch_folder() as folder:
            path = folder / "lora.safetensors"
            path.write_bytes(weights)
            try:
                pipeline.load_lora_weights(path, adapter_name=ADAPTER)
                fault = _unloaded(session, path)
            except (
                SafetensorError,
                OSError,
                ValueError,
                RuntimeError,
                KeyError,
                TypeError,
                AttributeError,
                IndexError,
            ) as error:
                if is_out_of_memory(error):
                    raise
                fault = first_line(error)
        if fault:
            raise ModelError(
                f"the LoRA does not fit the model {session.preset.name}: {fault}. {MEND}"
            )
        yield
    finally:
        pipeline.unload_lora_weights()


def _unloaded(session: GpuSession, path: Path) -> str:
    """What of a LoRA's file has not found its place in the denoiser, in words. diffusers passes
    over such keys without an error.
    """
    state: Any = session.pipeline.lora_state_dict(path)
    state = state[0] if isinstance(state, tuple) else state
    prefix = f"{session.family.DENOISER}."
    wanted = [key for key in state if key.startswith(prefix) and "lora" in key]
    layers = {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }
    placed = sum(
        f".{ADAPTER}." in name and "lora_" in name
        for name, _ in session.denoiser.named_parameters()
    )
    from avatar_pipeline.diffusion.fp8 import is_fp8

    if is_fp8(session.denoiser):
        restore_lora(session.denoiser, layers, ADAPTER)
    if not wanted or not placed:
        return (
            f"none of its {len(state)} tensors belongs to a layer of the {session.family.DENOISER}"
        )
    return (
        f"only {placed} of its {len(wanted)} tensors belong to layers of the "
        f"{session.family.DENOISER}"
        if placed < len(wanted)
        else ""
    )
