"""What denoisers are asked, by their arguments' names and in one form for all families."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from avatar_pipeline.diffusion.session import PipelineSession

Question = dict[str, Any]
# how a denoiser is called, and not what it is asked
MANNERS = ("return_dict", "attention_kwargs", "joint_attention_kwargs")


@contextmanager
def questions(session: PipelineSession) -> Iterator[list[Question]]:
    """What the denoiser is asked while the block runs, by the names of its arguments."""
    found: list[Question] = []
    named_by = inspect.signature(type(session.denoiser).forward)

    def note(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        asked = dict(named_by.bind(module, *given, **named).arguments)
        asked.pop("self")
        found.append(asked | (asked.pop("added_cond_kwargs", None) or {}))

    hook = session.denoiser.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield found
    finally:
        hook.remove()


def states(question: Question) -> torch.Tensor:
    """The noisy latents of a question, in the denoiser's own shape."""
    (value,) = (question[name] for name in ("sample", "hidden_states", "x") if name in question)
    return torch.stack(value) if isinstance(value, list) else value


def noise_levels(session: PipelineSession, question: Question) -> torch.Tensor:
    """Noise of each row of a question, 0 to 1, as the family counts it."""
    family = session.preset.family
    if family == "z_image":  # 0 is noise
        return 1 - question["t"].float()
    unit = 1000 if family in ("sd", "sdxl") else 1
    return torch.atleast_1d(question["timestep"].float()) / unit


def words(question: Question) -> list[torch.Tensor]:
    """The text embeddings of a question, (tokens, C) each prompt's own."""
    if "cap_feats" in question:
        return [embeds.float() for embeds in question["cap_feats"]]
    return own_tokens(question["encoder_hidden_states"], question.get("encoder_hidden_states_mask"))


def embedded(arguments: Mapping[str, torch.Tensor], name: str = "prompt_embeds") -> list[Any]:
    """The same of what text_encoding.word_arguments gives."""
    return own_tokens(arguments[name], arguments.get(f"{name}_mask"))


def own_tokens(embeds: torch.Tensor, mask: torch.Tensor | None) -> list[torch.Tensor]:
    """Embeddings (N, tokens, C) without the tokens that fill them up."""
    if mask is None:
        return list(embeds.float())
    return [one[kept.bool()].float() for one, kept in zip(embeds, mask, strict=True)]


def beside(question: Question) -> Question:
    """All of a question but its noisy latents and their noise level."""
    left_out = ("sample", "hidden_states", "x", "timestep", "t", *MANNERS)
    return {
        name: value
        for name, value in question.items()
        if value is not None and name not in left_out
    }


def alike(one: Any, other: Any) -> bool:
    """Whether two arguments of a denoiser are the same up to rounding."""
    if isinstance(one, torch.Tensor):
        return one.shape == other.shape and torch.allclose(one.float(), other.float(), atol=1e-6)
    if isinstance(one, list) and one and isinstance(one[0], torch.Tensor):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)
