"""Where the actors lie."""

from __future__ import annotations

import os
from pathlib import Path

from upath import UPath

ROOT_VARIABLE = "AVATAR_DATA"


def data_root() -> UPath:
    """Return where the actors lie: the variable AVATAR_DATA (a path, or a URL such as
    s3://bucket/actors), else data/actors.
    """
    chosen = os.environ.get(ROOT_VARIABLE)
    return UPath(chosen) if chosen else UPath(Path(__file__).parents[2] / "data" / "actors")
