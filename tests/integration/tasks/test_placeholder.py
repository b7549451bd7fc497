"""The placeholder portrait: what is committed is fit for LivePortrait, and is what the script
draws.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.imaging.images import open_image


def test_the_placeholder_has_no_error_and_is_what_the_script_draws(
    tmp_path: Path, analyzer: FaceAnalyzer
) -> None:
    committed, drawn = (
        PROJECT / "assets" / "avatars" / "placeholder_face.jpg",
        tmp_path / "drawn.jpg",
    )
    subprocess.run(
        [sys.executable, "scripts/draw_placeholder.py", str(drawn)],
        cwd=PROJECT,
        check=True,
        capture_output=True,
    )
    embeddings = []
    for file in (committed, drawn):
        data = file.read_bytes()
        assert len(data) <= 150_000
        pixels = np.asarray(open_image(data, name=file.name))
        assert pixels.shape == (1024, 1024, 3)
        faces = analyzer.analyze(pixels)
        assert not [
            check.name for check in assess(pixels, faces, data=data) if check.verdict == "error"
        ]
        embeddings.append(faces[0].embedding)
    assert analyzer.distance(*embeddings) < 0.2  # other machines draw other bytes, of the same face
