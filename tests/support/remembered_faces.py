"""Faces found once a process, by models loaded once: the same portraits stand in hundreds of tests.

Every picture is really analyzed, the first time it comes; the same pixels then have the same faces.
Only here do analyzers share dlib's models: a detector holds the picture that it is at work on, and
a service may have several threads. What asks whether an analyzer repeats itself needs a process of
its own.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from avatar_pipeline.faces.analyzers.dlib import DlibAnalyzer
from avatar_pipeline.faces.analyzers.types import Face

_analyze, _load = DlibAnalyzer.analyze, DlibAnalyzer.__init__
_models: dict[str, Any] = {}
_found: dict[bytes, list[Face]] = {}


def remember_faces() -> None:
    """From now on dlib's analyzers of this process remember what they found."""
    DlibAnalyzer.analyze = analyze  # type: ignore[method-assign]
    DlibAnalyzer.__init__ = load  # type: ignore[method-assign]


def load(self: DlibAnalyzer) -> None:
    """Take the models of the first analyzer of this process."""
    if not _models:
        _load(self)
        _models.update(vars(self))
    vars(self).update(_models)


def analyze(self: DlibAnalyzer, image: np.ndarray) -> list[Face]:
    """The faces of an RGB uint8 picture (H, W, 3), largest first, as the analyzer finds them."""
    key = hashlib.blake2b(image.tobytes(), digest_size=16, key=repr(image.shape).encode()).digest()
    if key not in _found:
        _found[key] = _analyze(self, image)
    return list(_found[key])
