"""Which picture makes the better portrait, and the words for it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from PIL import Image

from avatar_pipeline.core.openpeople import asset_path
from avatar_pipeline.portrait.beside_photograph import beside_photograph
from avatar_pipeline.portrait.comparison import Worth, better, detail, frame_liveportrait, worth

ALIKE = Worth(0, 1, 0.02, 2.0, 0.1, 0.0, 0.1)


def test_errors_decide():
    source, why = better(replace(ALIKE, errors=1), replace(ALIKE, warnings=9))
    assert source == "photograph"
    assert "0 errors" in why


def test_of_two_that_measure_alike_the_photograph_is_kept():
    assert better(ALIKE, ALIKE)[0] == "photograph"


def test_the_one_that_is_better_in_more_ways_is_kept_and_the_reason_has_the_figures():
    lora = replace(ALIKE, from_neutral=0.0, invented=0.0)
    source, why = better(lora, replace(ALIKE, from_neutral=0.9, invented=0.3))
    assert source == "lora"
    assert "more neutral" in why
    assert "90%" in why
    assert "less of the border" in why


def test_a_blurred_picture_is_worth_less(analyzer):
    sharp = np.asarray(Image.open(asset_path("P002", "studio_portrait")).convert("RGB"))
    soft = cv2.GaussianBlur(sharp, (0, 0), sharp.shape[0] / 150)
    values = [
        worth(frame_liveportrait(pixels, analyzer.analyze(pixels)[0]), analyzer)
        for pixels in (sharp, soft)
    ]
    assert values[0].sharpness > 2 * values[1].sharpness
    assert better(values[1], values[0])[0] == "photograph"


def test_detail_does_not_depend_on_the_size_of_a_photograph(analyzer):
    large = np.asarray(Image.open(asset_path("P002", "studio_portrait")).convert("RGB"))
    half = cv2.resize(large, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    first, second = (detail(pixels, analyzer.analyze(pixels)[0])[0] for pixels in (large, half))
    assert 0.75 < first / second < 1.35


def test_a_portrait_far_below_the_photographs_detail_is_refused(analyzer):
    sharp = np.asarray(Image.open(asset_path("P002", "studio_portrait")).convert("RGB"))
    face = analyzer.analyze(sharp)[0]
    smeared = cv2.GaussianBlur(sharp, (0, 0), sharp.shape[0] / 60)
    checks = beside_photograph(0.4, (smeared, face), (sharp, face))
    assert [check.verdict for check in checks][:2] == ["error", "error"]
    same = beside_photograph(0.0, (sharp, face), (sharp, face))
    assert [check.verdict for check in same] == ["pass", "pass", "pass"]
    assert [c.verdict for c in beside_photograph(0.0, None, None)][1:] == ["not_assessed"] * 2
