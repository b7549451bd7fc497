"""OFIQ's maps at the points that its formulas give by hand, and the order that the overall score
puts pictures in.
"""

from __future__ import annotations

import dataclasses

import pytest

from avatar_pipeline.faces.check import Check, Verdict
from avatar_pipeline.faces.quality import overall, quality
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.faces.rules import RULES


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("single_face", 0.25, 75),
        ("inter_eye", 70, 50),  # the sigmoid's middle
        ("inter_eye", 90, 73),  # 100 / (1 + 1/e)
        ("yaw", -30, 75),  # cos^2
        ("pitch", 90, 0),
        ("roll", 120, 0),  # beyond 90 degrees the cosine is clipped before it is squared
        ("eyes_open", 0.02, 50),
        ("mouth_closed", 0.2, 50),
        ("mouth_closed", 0.0, 97),
        ("exposure_dark", 0.0, 100),
        ("exposure_dark", 0.92, 40),  # 120 x (0.832 - 0.5) = 39.84
        ("exposure_bright", 0.0, 100),
        ("exposure_bright", 0.02, 33),
        ("luminance_mean", 0.2, 50),
        ("luminance_mean", 0.5, 100),
        ("dynamic_range", 5, 63),  # 62.5, rounded half up as std::round does
        ("dynamic_range", 8, 100),
        ("illumination", 0, 0),
        ("inter_eye", -1e9, 0),
    ],
)
def test_the_maps_are_ofiqs(name, value, expected):
    assert quality(name, value) == expected


def test_what_ofiq_measures_otherwise_has_no_quality():
    for name in ("sharpness", "background", "crop_inside", "face_pixels", "centered_x", "noise"):
        assert name in RULES
        assert quality(name, 0.5) is None


def check(name: str, verdict: Verdict, mapped: int | None = None) -> Check:
    return Check(name, 1.0, "", "", verdict, "", "", mapped)


def test_the_verdict_decides_the_range_of_the_score():
    good, poor = check("illumination", "pass", 100), check("illumination", "pass", 0)
    assert overall([good]) == 100
    assert overall([poor]) == 70
    assert overall([good, check("alpha", "warn")]) == 69
    assert overall([poor, check("alpha", "warn")]) == 40
    assert overall([good, check("alpha", "warn"), check("resolution", "error")]) == 39
    assert overall([poor, check("resolution", "error")]) == 0


def test_fewer_findings_and_a_better_weakest_side_win():
    one = [check("illumination", "pass", 90), check("alpha", "warn")]
    assert (overall(one) or 0) > (overall([*one, check("noise", "warn")]) or 0)
    even = [check("illumination", "pass", 80), check("yaw", "pass", 80)]
    uneven = [check("illumination", "pass", 60), check("yaw", "pass", 100)]
    assert (overall(even) or 0) > (overall(uneven) or 0)
    assert overall([*even, check("luminance_mean", "pass", 5)]) == overall(even)


def test_a_picture_without_a_face_has_no_score(look):
    image, _ = look("P001", "studio_portrait")
    assert overall(assess(image, [])) is None
    assert overall([]) is None


def test_portraits_carry_qualities_and_a_score(look):
    image, (face,) = look("P007", "studio_portrait")
    checks = {item.name: item for item in assess(image, [face])}
    for name in ("inter_eye", "yaw", "eyes_open", "mouth_closed", "illumination"):
        assert (checks[name].quality or 0) >= 90, name
    assert checks["sharpness"].quality is None
    assert (overall([*checks.values()]) or 0) >= 90
    moved = dataclasses.replace(
        face, landmarks68=face.landmarks68 * 0.3, landmarks=face.landmarks * 0.3
    )
    assert all(item.quality is None or 0 <= item.quality <= 100 for item in assess(image, [moved]))
