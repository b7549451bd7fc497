"""Prompts as text embeddings: of any length, encoded once, positive and negative alike long."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.families import PromptEmbeds
from avatar_pipeline.diffusion.precision import copies_released
from avatar_pipeline.diffusion.session import PipelineSession

if TYPE_CHECKING:
    import torch

# Prompts kept for each loaded text encoder. FLUX's embeddings take 4 MB each, and a stage asks for
# few prompts again and again.
KEPT = 16
MASK = "prompt_embeds_mask"  # of families whose prompts are of unequal length

_encoded: WeakKeyDictionary[Any, OrderedDict[tuple[str, str], PromptEmbeds]] = WeakKeyDictionary()


def word_arguments(
    session: PipelineSession, prompt: str, negative_prompt: str, guidance_scale: float
) -> dict[str, torch.Tensor]:
    """What the pipelines take for a prompt: its embeddings, and the negative prompt's where the
    family is guided by one; each (1, ...).

    Nothing of a prompt is cut off. Raises GenerationError for a prompt beyond what the family can
    read, and for a negative prompt that would have no effect.
    """
    family = session.family
    prompt_embeds = encode(session, prompt)
    if not family.is_guided(session.pipeline, guidance_scale, negative_prompt):
        if negative_prompt and not family.is_guided(session.pipeline, 2.0, negative_prompt):
            raise GenerationError(
                f"negative_prompt: it has no effect, because {session.preset.model_id} is "
                "distilled and draws without guidance. Leave it out, or draw with the base model."
            )
        if negative_prompt:
            raise GenerationError(
                f"negative_prompt: it has no effect at guidance_scale {guidance_scale:g}. Raise "
                "guidance_scale above 1, or leave it out."
            )
        return dict(prompt_embeds)
    negative = _encode(session, "encode_negative", family.encode_negative, negative_prompt)
    if MASK not in prompt_embeds:
        length = max(token_count(prompt_embeds), token_count(negative))
        # Empty windows fill the shorter one up: embeddings of one kind are all alike long.
        prompt_embeds = _lengthen(prompt_embeds, length, lambda: encode(session, ""))
        negative = _lengthen(
            negative,
            length,
            lambda: _encode(session, "encode_negative", family.encode_negative, ""),
        )
    return {**prompt_embeds, **{f"negative_{name}": tensor for name, tensor in negative.items()}}


def encode(session: PipelineSession, prompt: str) -> PromptEmbeds:
    """Text embeddings of a prompt, as it is drawn and as it is trained: in the same windows and
    precision. Each tensor is (1, ...).
    """
    return _encode(session, "encode_prompt", session.family.encode_prompt, prompt)


def encode_nothing(session: PipelineSession, tokens: int) -> PromptEmbeds:
    """What a drawing without a negative prompt is guided from, beside a prompt of so many
    tokens.
    """

    def nothing() -> PromptEmbeds:
        return _encode(session, "encode_negative", session.family.encode_negative, "")

    return _lengthen(nothing(), tokens, nothing)


def token_count(prompt_embeds: PromptEmbeds) -> int:
    """How many tokens embeddings have; empty places count too."""
    return prompt_embeds["prompt_embeds"].shape[1]


def _encode(
    session: PipelineSession, kind: str, encode: Callable[[Any, str], PromptEmbeds], prompt: str
) -> PromptEmbeds:
    """The embeddings of a prompt. Prompts are encoded one by one, so that they do not depend on
    what they are drawn beside.
    """
    import torch

    pipeline = session.pipeline
    encoders = [getattr(pipeline, name) for name in session.family.TEXT_ENCODERS]
    kept = _encoded.setdefault(encoders[0], OrderedDict())
    # Under a LoRA that changes the encoders nothing that they said before, or say now, is kept.
    plain = not session.loaded.words_changed
    if plain and (kind, prompt) in kept:
        kept.move_to_end((kind, prompt))
        return kept[kind, prompt]
    with torch.no_grad(), copies_released(session, encoders):
        prompt_embeds = encode(pipeline, prompt)
    if plain:
        kept[kind, prompt] = prompt_embeds
        if len(kept) > KEPT:
            kept.popitem(last=False)
    return prompt_embeds


def _lengthen(
    prompt_embeds: PromptEmbeds, length: int, empty: Callable[[], PromptEmbeds]
) -> PromptEmbeds:
    import torch
    from torch.nn.functional import pad

    missing = length - token_count(prompt_embeds)
    if not missing:
        return prompt_embeds
    if MASK in prompt_embeds:  # masked places instead
        return {
            "prompt_embeds": pad(prompt_embeds["prompt_embeds"], (0, 0, 0, missing)),
            MASK: pad(prompt_embeds[MASK], (0, missing)),
        }
    filling = empty()["prompt_embeds"]
    parts = [prompt_embeds["prompt_embeds"], *[filling] * (missing // filling.shape[1])]
    return {**prompt_embeds, "prompt_embeds": torch.cat(parts, dim=1)}
