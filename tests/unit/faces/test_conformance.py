"""Committed pictures against what the checks said of them: expected.json, rewritten by
conformance/rewrite.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from avatar_pipeline.faces.quality import overall
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.imaging.images import open_image

FOLDER = Path(__file__).parent / "conformance"
TABLE = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))


def test_every_picture_is_in_the_table():
    assert {path.stem for path in FOLDER.glob("*.jpg")} == set(TABLE["pictures"])


@pytest.mark.parametrize("name", TABLE["pictures"])
def test_a_picture_gets_the_verdicts_and_values_of_the_table(name, analyzer):
    path, expected, tolerance = FOLDER / f"{name}.jpg", TABLE["pictures"][name], TABLE["tolerance"]
    image = np.asarray(open_image(path, name=path.name))
    checks = assess(image, analyzer.analyze(image), data=path.read_bytes())
    assert {check.name: check.verdict for check in checks} == {
        key: verdict for key, (_, verdict, _) in expected["checks"].items()
    }
    for check in checks:
        value, _, quality = expected["checks"][check.name]
        assert check.value == (
            value
            if value is None
            else pytest.approx(value, rel=tolerance["relative"], abs=tolerance["absolute"])
        )
        assert check.quality == (
            quality if quality is None else pytest.approx(quality, abs=tolerance["quality"])
        ), check.name
    assert overall(checks) == pytest.approx(expected["overall"], abs=tolerance["quality"])
