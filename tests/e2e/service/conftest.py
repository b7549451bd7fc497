"""A real server for the tests of a file."""

from tests.support.servers import server

__all__ = ["server"]
