"""A world of one's own for the commands that look back."""

from tests.support.worlds import call, empty_home, store, twice, world

__all__ = ["call", "empty_home", "store", "twice", "world"]
