"""The same world as the tests of the history."""

from tests.support.worlds import call, empty_home, store, world

__all__ = ["call", "empty_home", "store", "world"]
