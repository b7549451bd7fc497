"""Telling that memory has run out from other errors."""

from __future__ import annotations


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out: CUDA's own, or those of the other allocators,
    which have only words for it.
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
    """An error's first line, without a full stop."""
    return str(error).strip().partition("\n")[0].rstrip(".")
