"""A de-distilling LoRA, with which a distilled model can be trained: it is in the weights while
steps are taken, and out of them while pictures are drawn.

Its users' name is training adapter or assistant LoRA, as in ai-toolkit (assistant_lora_path). What
is learned beside it holds on the distilled model without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.session import PipelineSession


@dataclass(eq=False)
class TrainingAdapter:
    """The weights that it changes, without and with it; empty where there is none."""

    changed: list[tuple[torch.nn.Parameter, torch.Tensor, torch.Tensor]] = field(
        default_factory=list
    )

    def put_in(self) -> None:
        """Give the denoiser the weights with the adapter."""
        for parameter, _, adapted in self.changed:
            parameter.data = adapted.to(parameter.device)

    def take_out(self) -> None:
        """Give it its own weights back, to the bit."""
        for parameter, own, _ in self.changed:
            parameter.data = own.to(parameter.device)

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """The denoiser has its own weights while the block runs."""
        self.take_out()
        try:
            yield
        finally:
            self.put_in()


@contextmanager
def training_adapter(session: PipelineSession, file: str) -> Iterator[TrainingAdapter]:
    """Have a LoRA file in the denoiser's weights while the block runs; an empty name is none.

    Raises ModelError when there is no such file, or it does not fit the model.
    """
    if not file:
        yield TrainingAdapter()
        return
    path = Path(file).expanduser()
    if not path.is_file():
        raise ModelError(
            f"training_adapter: there is no file {path}. Give the safetensors file of a LoRA that "
            "undoes the model's distillation, such as ostris/zimage_turbo_training_adapter."
        )
    own = {id(one): one.detach().clone() for one in session.denoiser.parameters()}
    with applied(session, path):
        adapted = [
            (one, one.detach().clone())
            for one in session.denoiser.parameters()
            if id(one) in own and not torch.equal(one, own[id(one)])
        ]
    adapter = TrainingAdapter([(one, own[id(one)], new) for one, new in adapted])
    adapter.put_in()
    try:
        yield adapter
    finally:
        adapter.take_out()
