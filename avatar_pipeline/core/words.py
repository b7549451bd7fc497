"""Counts in words."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """Return "1 warning", "2 warnings"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
