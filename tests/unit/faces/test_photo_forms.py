"""A photograph is judged alike in whatever form it comes; the small form of
benchmarks/photo_formats.py.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.quality import overall
from avatar_pipeline.faces.readiness import assess, worst
from avatar_pipeline.imaging.images import open_image
from tests.support.photo_formats import Form, forms


def test_every_form_is_judged_like_the_plain_jpeg(analyzer: FaceAnalyzer) -> None:
    """Verdict and score, by at most 1; but for the checks that a form is meant to fail."""

    @cache
    def checks_of(data: bytes) -> list[Check]:
        pixels = np.asarray(open_image(data, name="a"))
        return assess(pixels, analyzer.analyze(pixels), data=data)

    def judged(data: bytes, form: Form) -> tuple[str, int | None]:
        left = [check for check in checks_of(data) if check.name not in form.reasons]
        return worst(left), overall(left)

    made = list(forms(384, range(6, 7)))
    assert {form.kind for form in made} == {"JPEG", "PNG", "WEBP", "HEIC", "AVIF"}
    for form in made:
        (verdict, score), (expected, other) = judged(form.data, form), judged(form.plain, form)
        assert verdict == expected, f"{form.kind} {form.name}"
        assert score is not None and other is not None and abs(score - other) <= 1, form.name
        by_name = {check.name: check.verdict for check in checks_of(form.data)}
        for reason in form.reasons:
            assert by_name[reason] in ("warn", "error"), f"{form.kind} {form.name}: {reason}"
