"""Actors to test with."""

from tests.support.actors import make_actor, store

__all__ = ["make_actor", "store"]
