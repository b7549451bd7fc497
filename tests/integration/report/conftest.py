"""The same world as the tests of the history."""

from tests.support.worlds import call, store, world

__all__ = ["call", "store", "world"]
