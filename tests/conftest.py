"""Fixtures that several folders of tests share."""

from __future__ import annotations

import pytest

from avatar_pipeline.faces.analyzer import FaceAnalyzer, get_analyzer


@pytest.fixture(scope="session")
def analyzer() -> FaceAnalyzer:
    """The default face analyzer, loaded once (half a second)."""
    return get_analyzer("dlib")
