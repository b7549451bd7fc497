"""A real person in a world of one's own."""

from tests.support.people import call, granted, instance, jane, paper
from tests.support.worlds import empty_home, store, world

__all__ = ["call", "empty_home", "granted", "instance", "jane", "paper", "store", "world"]
