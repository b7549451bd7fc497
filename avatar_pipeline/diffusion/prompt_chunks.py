"""Prompts longer than a text encoder's window, split so that each part fits and no word is lost.

CLIP reads 77 tokens at a time, of which two mark the beginning and the end. The web UIs that most
prompts are written for encode a longer prompt in several windows, one after the other, and so does
this (AUTOMATIC1111/stable-diffusion-webui, modules/sd_hijack_clip.py: a window that is full ends at
the last comma when that is near).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

# A full window ends at a comma or full stop rather than at a word when that costs at most this
# share of it: the web UI's 20 tokens of 75.
BACKTRACK = 20 / 75
STOPS = (",", ".", ";", ":")


def token_limit(tokenizer: Any) -> int:
    """How many tokens of a prompt fit into one window: without those that mark its beginning and
    end.
    """
    return int(tokenizer.model_max_length) - 2


def count_tokens(tokenizers: Sequence[Any], text: str) -> int:
    """Tokens of a text, without marks; of several tokenizers the largest count. A word that a LoRA
    has brought counts as its vectors.
    """
    return max(
        sum(
            _vectors(tokenizer, token)
            for token in tokenizer(text, add_special_tokens=False, truncation=False).input_ids
        )
        for tokenizer in tokenizers
    )


def _vectors(tokenizer: Any, token: int) -> int:
    """How many tokens diffusers puts in place of one: textual inversion's word, word_1, word_2
    ...
    """
    added = tokenizer.added_tokens_decoder
    if token not in added:
        return 1
    known = {one.content for one in added.values()}
    more = 1
    while f"{added[token].content}_{more}" in known:
        more += 1
    return more


def split_prompt(prompt: str, tokenizers: Sequence[Any]) -> list[str]:
    """The prompt in parts that fit into one window of every tokenizer; a prompt that fits comes
    back as it is.

    Parts end at commas and full stops where possible, else between words; a word longer than a
    window is cut.
    """
    limit = min(token_limit(tokenizer) for tokenizer in tokenizers)

    def count(text: str) -> int:
        return count_tokens(tokenizers, text)

    if count(prompt) <= limit:
        return [prompt]
    pieces = [
        (piece, count(piece)) for word in prompt.split() for piece in _fitting(word, limit, count)
    ]
    parts: list[str] = []
    while pieces:
        taken, used = 0, 0
        while taken < len(pieces) and used + pieces[taken][1] <= limit:
            used += pieces[taken][1]
            taken += 1
        if taken < len(pieces):
            taken = _last_stop(pieces[:taken], limit) or taken
        parts.append(" ".join(piece for piece, _ in pieces[:taken]))
        pieces = pieces[taken:]
    return parts


def _fitting(word: str, limit: int, count: Callable[[str], int]) -> list[str]:
    """The word, halved until its parts fit."""
    if count(word) <= limit or len(word) == 1:
        return [word]
    middle = len(word) // 2
    return [*_fitting(word[:middle], limit, count), *_fitting(word[middle:], limit, count)]


def _last_stop(pieces: Sequence[tuple[str, int]], limit: int) -> int:
    """How many pieces end at the last stop, 0 when that one is too far from the window's end."""
    left = 0
    for index in range(len(pieces) - 1, -1, -1):
        if pieces[index][0].endswith(STOPS):
            return index + 1
        left += pieces[index][1]
        if left > BACKTRACK * limit:
            break
    return 0
