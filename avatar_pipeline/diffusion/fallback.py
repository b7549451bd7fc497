"""Work that runs out of memory is done once more, in a way that needs less."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.session import PipelineSession

T = TypeVar("T")


def run_with_fallback(
    session: PipelineSession,
    work: Callable[[], T],
    step_down: Callable[[], str] | None = None,
) -> T:
    """Return what `work` returns. When it runs out of memory, step down once to what needs less,
    and run it again from its start.

    step_down: takes the step and says in words what it was, for work that has its own way of saving
    memory, as training has; the next memory plan of the pipeline when None. What was done is in
    `plan_history`. Raises GenerationError when there is nothing to step down to, or memory runs out
    again.
    """
    try:
        return work()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        fault = first_line(error)
    # Here, and not in the handler, whose exception would keep alive the tensors of the frames it
    # came through.
    session.loaded.free_memory()
    words = step_down() if step_down else _next_plan(session, fault)
    session.log(f"out of memory on {session.device_name}: goes on with {words}")
    try:
        return work()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        fault = first_line(error)
    session.loaded.free_memory()
    raise _too_large(session, f"out of memory twice, the second time with {words}: {fault}")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory has run out: CUDA's own, or those of the other
    allocators, which have only words for it.
    """
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).strip().lower()
    words = (
        "out of memory",
        "not enough memory",
        "can't allocate memory",
        "cannot allocate memory",
        "failed to allocate",
    )
    # oneDNN's words when there is no memory left for a compiled kernel; what it cannot do at all is
    # "... a primitive descriptor ...".
    return isinstance(error, RuntimeError) and (
        any(word in text for word in words) or text == "could not create a primitive"
    )


def first_line(error: BaseException) -> str:
    """Return an error's first line, without a full stop."""
    return str(error).strip().partition("\n")[0].rstrip(".")


def _next_plan(session: PipelineSession, fault: str) -> str:
    plan = session.loaded.step_down(session.log)
    if plan is None:
        raise _too_large(
            session, f"out of memory, and nothing is left that would need less: {fault}"
        )
    return plan.mode


def _too_large(session: PipelineSession, fault: str) -> GenerationError:
    return GenerationError(
        f"{session.device_name}: {fault}. Draw smaller pictures (width, height), train in smaller "
        "batches (batch_size), end what else uses the device, or choose a smaller preset than "
        f"{session.preset.name}."
    )
