"""The same world as the tests of the history."""

from tests.history.conftest import call, store, world

__all__ = ["call", "store", "world"]
