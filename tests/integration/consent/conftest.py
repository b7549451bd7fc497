"""A real person in a world of one's own."""

from tests.support.people import call, granted, instance, jane, paper
from tests.support.worlds import store, world

__all__ = ["call", "granted", "instance", "jane", "paper", "store", "world"]
