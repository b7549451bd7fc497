"""Out of memory, for real: one step down, recorded, and the work again; a second time is an error
that says what to do.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.fallback import is_out_of_memory, run_with_fallback
from avatar_pipeline.diffusion.lora import applied
from tests.unit.diffusion.test_loading import draw, tiny_session


def shortage() -> None:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB\nmore")


def test_what_is_not_about_memory_is_raised_as_it_is(tiny_models: dict[str, Path]) -> None:
    session = tiny_session(tiny_models, "sd15")
    _ = session.pipeline
    calls = []

    def work() -> None:
        calls.append(1)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        run_with_fallback(session, work)
    assert len(calls) == 1
    assert len(session.plan_history) == 1


def test_a_lora_in_use_survives_the_step(tiny_models: dict[str, Path]) -> None:
    from tests.support.loras import make_lora

    session = tiny_session(tiny_models, "sd15")
    calls: list[int] = []

    def work() -> object:
        calls.append(1)
        if len(calls) < 3:
            shortage()
        return draw(session)

    with applied(session, make_lora(tiny_models["sd15"])):
        taught = draw(session)
        with pytest.raises(GenerationError, match="twice"):  # tiles
            run_with_fallback(session, work)
        calls.append(1)
        assert run_with_fallback(session, work) == pytest.approx(taught, abs=1e-5)
    assert [line.partition(":")[0] for line in session.plan_history] == [
        "all on the device",
        "all on the device, VAE in tiles",
    ]


def test_the_ladder_ends_with_an_error(tiny_models: dict[str, Path]) -> None:
    session = tiny_session(tiny_models, "sd15")
    _ = session.pipeline
    for _ in range(2):
        with pytest.raises(
            GenerationError,
            match=r"out of memory twice.*CUDA out of memory. "
            r"Tried to allocate 20.00 GiB\.",
        ):
            run_with_fallback(session, shortage)
    with pytest.raises(GenerationError, match="nothing is left that would need less"):
        run_with_fallback(session, shortage)
    assert [line.partition(":")[0] for line in session.plan_history] == [
        "all on the device",
        "all on the device, VAE in tiles",
        "fp8, VAE in tiles",
    ]


def test_a_caller_may_step_down_in_its_own_way(tiny_models: dict[str, Path]) -> None:
    session = tiny_session(tiny_models, "sd15")
    stepped: list[str] = []

    def work() -> str:
        if not stepped:
            shortage()
        return "done"

    def step_down() -> str:
        stepped.append("gradient checkpointing")
        return stepped[-1]

    lines: list[str] = []
    session = replace(session, log=lines.append)
    assert run_with_fallback(session, work, step_down) == "done"
    assert session.plan is None  # nothing had been loaded, and nothing was
    assert lines == [f"out of memory on {session.device_name}: goes on with gradient checkpointing"]


def test_which_errors_mean_memory() -> None:
    import torch

    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"
        )
    )
    assert is_out_of_memory(
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.")
    )
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert is_out_of_memory(RuntimeError("could not create a primitive"))
    assert not is_out_of_memory(
        RuntimeError(
            "could not create a primitive descriptor for a convolution forward "
            "propagation primitive"
        )
    )
    assert not is_out_of_memory(ValueError("out of memory"))
    assert not is_out_of_memory(RuntimeError("expected scalar type Half"))


def test_sharing_sessions_step_down_together(tiny_models: dict[str, Path]) -> None:
    session = tiny_session(tiny_models, "sd15")
    other = replace(session)
    calls: list[int] = []

    def work() -> int:
        calls.append(1)
        if len(calls) == 1:
            shortage()
        return len(calls)

    _ = other.pipeline
    assert run_with_fallback(other, work) == 2
    assert session.plan == other.plan
    assert session.plan is not None
    assert session.plan.tiling
    assert other.plan_history is session.plan_history
