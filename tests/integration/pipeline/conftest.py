"""Photographs for the stages."""

from tests.support.photographs import portraits, stranger, text, three_people, truncated, wall

__all__ = ["portraits", "stranger", "text", "three_people", "truncated", "wall"]
