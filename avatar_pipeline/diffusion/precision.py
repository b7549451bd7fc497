"""The lower precision that heavy layers compute in while the weights are stored in a higher one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from avatar_pipeline.diffusion.session import PipelineSession


def autocast(session: PipelineSession) -> Any:
    """The lower precision that the session's device computes in, as a context."""
    import torch

    device = session.device
    return torch.autocast(device.kind, device.autocast) if device.autocast else nullcontext()


@contextmanager
def cast_once(session: PipelineSession) -> Iterator[None]:
    """Have autocast, which must be on, cast the denoiser's weights to the lower precision once for
    the block, and not at each step: it keeps those that require gradients, also where none are
    computed.
    """
    if not session.device.autocast:
        yield
        return
    frozen = [one for one in session.denoiser.parameters() if not one.requires_grad]
    frozen = [one for one in frozen if one.is_floating_point()]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
