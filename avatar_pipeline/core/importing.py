"""Imports of large libraries, without the garbage collector."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Pause Python's cyclic garbage collector meanwhile, and leave what was imported out of its
    later work.

    Modules, classes and functions stay until the process ends. The collector goes through all of
    them again and again as they become more: a fifth of the time that torch and diffusers take to
    load. Only for imports: what else is alive at the end is never collected when it forms a cycle.
    """
    modules, enabled = len(sys.modules), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > modules:
            gc.freeze()
        if enabled:
            gc.enable()
