"""Face analyzers: dlib and InsightFace behind one protocol, chosen by name."""

from __future__ import annotations

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer

ANALYZERS = ("dlib", "insightface")


def get_analyzer(name: str = "dlib") -> FaceAnalyzer:
    """Return a loaded analyzer: "dlib" (the default, models from PyPI) or "insightface" (as in
    LivePortrait, models on disk).

    Raises ModelError for another name, or when its models or its package are missing.
    """
    if name == "dlib":
        from avatar_pipeline.faces.analyzers.dlib import DlibAnalyzer

        return DlibAnalyzer()
    if name == "insightface":
        from avatar_pipeline.faces.analyzers.insightface import InsightFaceAnalyzer

        return InsightFaceAnalyzer()
    raise ModelError(f"There is no face analyzer {name!r}. Choose one of: {', '.join(ANALYZERS)}.")
