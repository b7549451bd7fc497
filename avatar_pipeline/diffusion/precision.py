"""The lower precision that heavy layers compute in while the weights are stored in a higher one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from avatar_pipeline.diffusion.device import release_heap
from avatar_pipeline.diffusion.session import PipelineSession

# Copies of weights up to so many bytes may stay with the process for the next picture; those of
# SDXL, 5 GB, would lie beside all that decoding takes.
KEPT_BYTES = 2**28


def autocast(session: PipelineSession) -> Any:
    """The lower precision that the session's device computes in, as a context."""
    import torch

    device = session.device
    return torch.autocast(device.kind, device.autocast) if device.autocast else nullcontext()


@contextmanager
def copies_released(session: PipelineSession, parts: Sequence[Any]) -> Iterator[None]:
    """Compute in the lower precision while the block runs; what autocast has copied of the parts'
    weights goes back to the system afterwards, where it is much and a CPU's.
    """
    with autocast(session):
        yield
    device = session.device
    if device.kind == "cpu" and device.autocast:
        weights = sum(one.numel() for part in parts for one in part.parameters())
        if weights * device.autocast.itemsize > KEPT_BYTES:
            release_heap()


@contextmanager
def cast_once(session: PipelineSession) -> Iterator[None]:
    """Do so for the denoiser, whose weights are cast once for the block and not at each step:
    autocast keeps the copies of those that require gradients, also where none are computed.
    """
    if not session.device.autocast:
        yield
        return
    frozen = [one for one in session.denoiser.parameters() if not one.requires_grad]
    frozen = [one for one in frozen if one.is_floating_point()]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        with copies_released(session, [session.denoiser]):
            yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
