"""Packages that only some settings need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from avatar_pipeline.core.errors import ModelError


def optional_package(module: str, setting: str, instead: str) -> Any:
    """The module of an optional package.

    Raises ModelError when it is missing; the message names the setting that wants it, and the one
    that does without.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ModelError(
            f"{setting} needs the package {module}, which cannot be imported ({error}). "
            f"Install it: pip install 'avatar-pipeline[{module}]', or use {instead}."
        ) from error
