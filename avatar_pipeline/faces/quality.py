"""0 to 100 for a measure, so that two pictures compare: BSI-OFIQ's own maps, and one score over all
checks.

The maps are those of BSI-OFIQ/OFIQ-Project 1.0.3 (MIT), OFIQlib/modules/measures/src/, with the
parameters of data/ofiq_config.jaxn; they implement ISO/IEC 29794-5. A check has a map only where
our measure is OFIQ's own, computed on our landmarks. No map: sharpness (OFIQ asks a random forest),
background (OFIQ knows the person's outline, we estimate it), sizes and places (OFIQ judges a
passport photograph's margins, which LivePortrait does not want).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import cos, exp, floor, radians

from avatar_pipeline.faces.check import Check

# Left out of the score: linear luminance and its share of dark pixels follow skin as much as light.
# OFIQ's map of luminance_mean gives openpeople's ten evenly lit portraits 33 to 100, and a score
# must not grade who a person is. Too little light still counts: as a warning.
NOT_SCORED = ("luminance_mean", "exposure_dark")


def _sigmoid(x: float, x0: float, w: float) -> float:
    """Return the value of Measure.h, Sigmoid(); far from x0 it is 0 or 1, where exp would
    overflow.
    """
    z = (x0 - x) / w
    return 0.0 if z > 700 else 1 / (1 + exp(z))


def _scalar(x: float, h: float, a: float, s: float, x0: float, w: float) -> float:
    """Return the value of Measure.h, ScalarConversion(), before rounding and clipping."""
    return h * (a + s * _sigmoid(x, x0, w))


def _turned(degrees: float) -> float:
    return 100 * max(0.0, cos(radians(degrees))) ** 2


_MAPS: dict[str, Callable[[float], float]] = {
    "single_face": lambda share: 100 * (1 - share),  # SingleFacePresent.cpp
    "inter_eye": lambda pixels: _scalar(pixels, 100, 0, 1, 70, 20),  # InterEyeDistance.cpp
    "yaw": _turned,  # HeadPose.cpp
    "pitch": _turned,
    "roll": _turned,
    # EyesOpen.cpp, of measures.lid_opening
    "eyes_open": lambda opening: _scalar(opening, 100, 0, 1, 0.02, 0.01),
    # MouthClosed.cpp, of measures.lip_opening
    "mouth_closed": lambda opening: _scalar(opening, 100, 1, -1, 0.2, 0.06),
    # UnderExposurePrevention.cpp
    "exposure_dark": lambda share: _scalar(share, 120, 0.832, -1, 0.92, 0.05),
    "exposure_bright": lambda share: 1 / (share + 0.01),  # OverExposurePrevention.cpp
    # Luminance.cpp
    "luminance_mean": lambda mean: (
        100 * _sigmoid(mean, 0.2, 0.05) * (1 - _sigmoid(mean, 0.8, 0.05))
    ),
    # IlluminationUniformity.cpp: our measure is already 100 x^0.3
    "illumination": lambda mapped: mapped,
    "dynamic_range": lambda bits: 12.5 * bits,  # DynamicRange.cpp
}


def quality(name: str, value: float) -> int | None:
    """Return OFIQ's quality, 0 (worst) to 100, of a value of the check `name`; None where OFIQ has
    no map for what we measure.

    value: in the check's unit, but for eyes_open and mouth_closed, whose OFIQ value is
    measures.lid_opening and lip_opening.
    """
    mapped = _MAPS.get(name)
    return None if mapped is None else _round(min(100.0, max(0.0, mapped(value))))


def overall(checks: Sequence[Check]) -> int | None:
    """Return one score, 0 to 100, by which two pictures compare; None without a face.

    The worst verdict decides the range: 70 to 100 when all checks pass, 40 to 69 with warnings, 0
    to 39 with errors. Inside it, the score is the range's length times q / n. q, 0 to 1, is halfway
    between the weakest mapped quality and the mean of them all (without NOT_SCORED): a picture is
    as good as its weakest side, but of two equal there, the better one wins. n counts the
    checks with the worst verdict: of two pictures with warnings, the one with fewer of them wins.
    """
    if any(check.name == "face_found" and check.verdict == "error" for check in checks):
        return None
    mapped = [
        check.quality
        for check in checks
        if check.quality is not None and check.name not in NOT_SCORED
    ]
    if not mapped:
        return None
    q = (min(mapped) + sum(mapped) / len(mapped)) / 200
    errors, warnings = (
        sum(check.verdict == verdict for check in checks) for verdict in ("error", "warn")
    )
    if errors:
        return floor(39 * q / errors)
    if warnings:
        return 40 + floor(29 * q / warnings)
    return 70 + floor(30 * q)


def _round(value: float) -> int:
    """Round half away from zero, as std::round; Python's round goes to even."""
    return floor(value + 0.5)
