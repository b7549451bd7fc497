"""A decoded frame's colours as BT.709, 8 bit: what the face analyzer expects, and what an H.264 MP4
is played as.

A frame says by four tags what its numbers mean: matrix, range, transfer function and primaries.
Matrix and range are FFmpeg's own work. Its conversion of transfer functions either clips everything
above diffuse white, or darkens skin: so HDR is mapped here, as ITU-R BT.2408 (annex 5) and BT.2390
say. What lies below 90 cd/m2 keeps its brightness, where 203 is an SDR display's white; highlights
up to 1000 are pressed into what is left.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from avatar_pipeline.core.errors import PhotoError

UNSPECIFIED = 2  # of FFmpeg's AVColorSpace
HD = 720  # rows from which an untagged video is taken for BT.709, as players do
PQ, HLG = 16, 18  # AVCOL_TRC_SMPTE2084, AVCOL_TRC_ARIB_STD_B67
HDR = {PQ: "HDR10 (PQ)", HLG: "HLG"}
UNKNOWN_CURVES = {8: "linear light", 9: "logarithmic", 10: "logarithmic", 17: "DCDM"}
PEAK, DIFFUSE_WHITE = 1000.0, 203.0  # cd/m2, BT.2408; brighter is clipped to the peak
SYSTEM_GAMMA = 1.2  # HLG's at that peak, BT.2100
DISPLAY_GAMMA = 2.4  # BT.1886
# From linear RGB of these primaries (AVColorPrimaries) to BT.709's, both with the white D65.
TO_BT709 = {
    9: np.array(  # BT.2020; BT.2087
        [
            [1.660491, -0.587641, -0.072850],
            [-0.124550, 1.132900, -0.008349],
            [-0.018151, -0.100579, 1.118730],
        ],
        np.float32,
    ),
    12: np.array(  # Display P3
        [
            [1.224940, -0.224940, 0.0],
            [-0.042057, 1.042057, 0.0],
            [-0.019638, -0.078636, 1.098274],
        ],
        np.float32,
    ),
}


def rgb(frame: Any, size: tuple[int, int]) -> tuple[np.ndarray, list[str]]:
    """Return a decoded frame as (height, width, 3) uint8 RGB of BT.709 at `size` (width, height),
    not turned yet; and what was done to its colours, in words.

    What is transparent is laid on white. Raises PhotoError for a transfer function that is not
    known.
    """
    curve, primaries = int(frame.color_trc), int(frame.color_primaries)
    if curve in UNKNOWN_CURVES:
        raise PhotoError(
            f"target_video has colours that are not read ({UNKNOWN_CURVES[curve]}). Export it as "
            "an ordinary MP4 (BT.709).",
            code="invalid_video",
            field="target_video",
        )
    deep = curve in HDR or primaries in TO_BT709
    clear = any(part.is_alpha for part in frame.format.components)
    kind = ("rgba" if clear else "rgb24") if not deep else ("rgba64le" if clear else "rgb48le")
    image = frame.to_ndarray(format=kind, width=size[0], height=size[1], **_source(frame))
    notes = []
    alpha = None
    if clear:
        alpha = image[..., 3:].astype(np.float32) / np.iinfo(image.dtype).max
        image = np.ascontiguousarray(image[..., :3])
    if deep:
        image = _mapped(image, curve, primaries)
        said = f"It is {HDR[curve]}: it was" if curve in HDR else "It has a wide gamut: it was"
        notes.append(
            f"{said} {'tone-mapped' if curve in HDR else 'converted'} to BT.709 (SDR), which is "
            "what is written."
        )
    if alpha is not None and float(alpha.min()) < 1.0:
        image = np.round(image * alpha + 255 * (1 - alpha)).astype(np.uint8)
        notes.append("It is transparent in part, which MP4 cannot be: it was laid on white.")
    return image, notes


def _source(frame: Any) -> dict[str, str]:
    """Return the matrix of a frame that says none."""
    if frame.colorspace != UNSPECIFIED or frame.format.is_rgb:
        return {}
    return {"src_colorspace": "itu709" if frame.height >= HD else "itu601"}


def _mapped(image: np.ndarray, curve: int, primaries: int) -> np.ndarray:
    """Return 16-bit RGB of a transfer function and primaries as 8-bit BT.709.

    The brightest channel is tone-mapped and the others scaled with it, which keeps the hue. In
    strips: a whole frame as float32 would take 25 MB for each step.
    """
    linear, gain = _curves(curve)
    matrix = TO_BT709.get(primaries)
    encode = _encoding()
    out = np.empty(image.shape, np.uint8)
    for top in range(0, len(image), 64):
        strip = image[top : top + 64]
        light = linear[strip]
        if curve == HLG:  # the display's gamma acts on luminance: hue and saturation stay
            luminance = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
            light = light * np.power(np.maximum(luminance, 1e-6), SYSTEM_GAMMA - 1)[..., None]
        if gain is not None:
            light = np.minimum(light, 1.0)
            step = np.sqrt(light.max(axis=-1)) * (len(gain) - 1)
            light = light * gain[np.round(step).astype(int)][..., None]
        if matrix is not None:
            light = light @ matrix.T
        out[top : top + 64] = encode[(np.clip(light, 0, 1) * (len(encode) - 1) + 0.5).astype(int)]
    return out


@cache
def _curves(curve: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the light of each 16-bit code value (of HDR: 1 is the peak; of HLG before the
    display's gamma), and the factor to SDR by the square root of the brightest channel's light;
    None for SDR.
    """
    code = np.linspace(0, 1, 65536)
    if curve == PQ:
        light = np.minimum(_pq_light(code) / PEAK, 1.0)
    elif curve == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073  # BT.2100, table 5
        light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    else:
        return (code**DISPLAY_GAMMA).astype(np.float32), None
    brightest = np.linspace(0, 1, 4096) ** 2
    nits = np.maximum(brightest * PEAK, 1e-4)
    return light.astype(np.float32), (_tone_mapped(nits) / DIFFUSE_WHITE / (nits / PEAK)).astype(
        np.float32
    )


def _tone_mapped(nits: np.ndarray) -> np.ndarray:
    """Return the light that an SDR display of DIFFUSE_WHITE gives for that of a display of PEAK, in
    cd/m2: the EETF of BT.2390, a Hermite spline above its knee.
    """
    top = float(_pq_code(np.array(PEAK)))
    most = float(_pq_code(np.array(DIFFUSE_WHITE))) / top
    knee = 1.5 * most - 0.5
    given = _pq_code(nits) / top
    t = np.clip((given - knee) / (1 - knee), 0, 1)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * most
    )
    return _pq_light(np.where(given < knee, given, spline) * top)


@cache
def _encoding() -> np.ndarray:
    """Return the 8-bit code value of each light of an SDR display, 65536 steps."""
    return np.round(255 * np.linspace(0, 1, 65536) ** (1 / DISPLAY_GAMMA)).astype(np.uint8)


# SMPTE ST 2084
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def _pq_light(code: np.ndarray) -> np.ndarray:
    power = np.power(code, 1 / _M2)
    light: np.ndarray = 10_000 * np.power(np.maximum(power - _C1, 0) / (_C2 - _C3 * power), 1 / _M1)
    return light


def _pq_code(light: np.ndarray) -> np.ndarray:
    power = np.power(light / 10_000, _M1)
    code: np.ndarray = np.power((_C1 + _C2 * power) / (1 + _C3 * power), _M2)
    return code
