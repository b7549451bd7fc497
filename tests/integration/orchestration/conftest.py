"""The small chain, its store and its instance."""

from tests.support.small_chain import instance, materialize, small_defs, statuses, store

__all__ = ["instance", "materialize", "small_defs", "statuses", "store"]
