"""Tiny pipelines of every family, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.diffusion import tiny

# preset of each family whose weights are large
PRESET_OF = {"sd": "sd15", "sdxl": "sdxl", "flux": "flux-dev"}


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny pipelines by preset: sd15, sdxl, flux-dev. Not to be changed."""
    root = tmp_path_factory.mktemp("tiny")
    return {preset: tiny.build(family, root / family) for family, preset in PRESET_OF.items()}
