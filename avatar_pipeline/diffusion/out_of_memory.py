"""Telling that memory has run out from other errors."""

from __future__ import annotations


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out: CUDA's own, or those of the other allocators, which have only words for it."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "failed to allocate")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


def first_line(error: BaseException) -> str:
    """An error's first line, without a full stop."""
    return str(error).strip().partition("\n")[0].rstrip(".")
