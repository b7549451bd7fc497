"""The lower precision that heavy layers compute in while the weights are stored in a higher one."""

from __future__ import annotations

from collections.abc import Iterator
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
def cast_once(session: PipelineSession) -> Iterator[None]:
    """Compute in the lower precision while the block runs, the denoiser's weights cast to it once
    and not at each step: autocast keeps the copies of those that require gradients, also where
    none are computed.
    """
    if not session.device.autocast:
        yield
        return
    weights = [one for one in session.denoiser.parameters() if one.is_floating_point()]
    frozen = [one for one in weights if not one.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        with autocast(session):
            yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
        copies = sum(one.numel() for one in weights) * session.device.autocast.itemsize
        if session.device.kind == "cpu" and copies > KEPT_BYTES:
            release_heap()
