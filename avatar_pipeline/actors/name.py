"""An actor's name: the only text from outside that becomes part of a path."""

from __future__ import annotations

import re
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from avatar_pipeline.core.errors import ActorError

PATTERN = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")


class ActorName(str):
    """A validated actor name: lower-case letters, digits and underscores, 1 to 64 of them, not
    starting with an underscore.

    Raises ActorError for anything else, so that no path can be built from '../x', 'a/b' or an empty
    name.
    """

    __slots__ = ()

    def __new__(cls, raw: str) -> ActorName:
        if not PATTERN.fullmatch(raw):
            raise ActorError(
                f"{raw!r} is not an actor name. Use 1 to 64 lower-case letters, digits and "
                "underscores, "
                "starting with a letter or digit, such as 0100_european_25_male."
            )
        return super().__new__(cls, raw)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())
