"""A world of one's own for the commands that look back."""

from tests.support.worlds import call, store, twice, world

__all__ = ["call", "store", "twice", "world"]
