"""The limits of every rule and analyzer, as literal numbers: stored verdicts mean these, and a new
number is a new code version.
"""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from avatar_pipeline.faces.analyzers.dlib import DlibAnalyzer
from avatar_pipeline.faces.analyzers.insightface import InsightFaceAnalyzer
from avatar_pipeline.faces.rules import RULES, identity_rule

# error below, warning below, warning above, error above
LIMITS: dict[str, tuple[float, float, float, float]] = {
    "decodable": (1, 1, inf, inf),
    "alpha": (-inf, 1, inf, inf),
    "resolution": (256, 1024, inf, inf),
    "face_found": (1, 1, inf, inf),
    "confident_face": (1, 1, inf, inf),
    "single_face": (-inf, -inf, 0, 0.25),
    "face_pixels": (64, 223, inf, inf),
    "inter_eye": (27, 90, inf, inf),
    "min_face": (64, 64, inf, inf),
    "crop_inside": (-inf, -inf, 0.005, 0.5),
    "centered_x": (-inf, 0.35, 0.65, inf),
    "centered_y": (-inf, 0.25, 0.6, inf),
    "yaw": (-45, -15, 15, 45),
    "pitch": (-45, -15, 15, 45),
    "roll": (-inf, -20, 20, inf),
    "eyes_open": (0.15, 0.2, inf, inf),
    "mouth_closed": (-inf, -inf, 0.1, 0.25),
    "sharpness": (-inf, 0.008, inf, inf),
    "noise": (-inf, -inf, 5, inf),
    "compression": (-inf, -inf, 2.8, inf),
    "exposure_dark": (-inf, -inf, 0.6, inf),
    "exposure_bright": (-inf, -inf, 0.02, inf),
    "luminance_mean": (-inf, 0.15, 0.8, inf),
    "illumination": (-inf, 50, inf, inf),
    "dynamic_range": (-inf, 5, inf, inf),
    "background": (-inf, -inf, inf, inf),
    "occlusion": (-inf, -inf, inf, inf),
    "reload": (1, 1, inf, inf),
}


@pytest.mark.parametrize("name", RULES)
def test_a_value_passes_at_the_limit_warns_beyond_it_and_fails_beyond_the_error_limit(
    name: str,
) -> None:
    rule = RULES[name]
    error_low, low, high, error_high = LIMITS[name]
    assert rule.judge(min(max(low, 0.0), high)).verdict == "pass"
    for limit, error, outwards in ((low, error_low, -inf), (high, error_high, inf)):
        if not np.isfinite(limit):
            continue
        assert rule.judge(limit).verdict == "pass"
        past = "error" if error == limit else "warn"
        assert rule.judge(np.nextafter(limit, outwards)).verdict == past
        if np.isfinite(error):
            assert rule.judge(np.nextafter(error, outwards)).verdict == "error"
            assert rule.judge(error).verdict == ("pass" if error == limit else "warn")
        else:
            assert rule.judge(limit + 1e9 * np.sign(outwards)).verdict == "warn", "it only warns"


def test_every_rule_has_its_limits_here() -> None:
    assert {
        name: (rule.error_low, rule.low, rule.high, rule.error_high) for name, rule in RULES.items()
    } == LIMITS


def test_the_analyzers_operating_points() -> None:
    assert (DlibAnalyzer.same_person, DlibAnalyzer.uncertain) == (0.6, 0.6)
    assert (InsightFaceAnalyzer.same_person, InsightFaceAnalyzer.uncertain) == (0.55, 0.6)
    rule = identity_rule(0.55, 0.8)
    assert [rule.judge(value).verdict for value in (0.0, 0.55, 0.56, 0.8, 0.81)] == [
        "pass",
        "pass",
        "warn",
        "warn",
        "error",
    ]
