"""Colours that a HEIC or AVIF file describes by code points (nclx, ITU-T H.273) and not by a
profile: wide gamuts, and the HDR of cameras.

PQ and HLG are brought to the range of a screen: 203 nits, the white of a page (ITU-R BT.2408), is
white; what is brighter is rolled off (the Moebius curve of ffmpeg's tonemap).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

WHITE = 203.0  # nits
PEAK = 1000.0  # nits: what cameras grade their HDR for
KNEE = 0.75  # of white, below which nothing is changed
ROWS = 256  # in strips, to save memory
BT2020, DCI_P3, DISPLAY_P3 = 9, 11, 12
LINEAR, PQ, HLG = 8, 16, 18

# Linear light of these primaries, white at D65, to that of sRGB. From the chromaticities in H.273.
_P3_TO_SRGB = (
    (1.2249402, -0.2249402, 0.0),
    (-0.0420570, 1.0420570, 0.0),
    (-0.0196376, -0.0786361, 1.0982736),
)
TO_SRGB = {
    BT2020: (
        (1.6604910, -0.5876411, -0.0728499),
        (-0.1245505, 1.1328999, -0.0083494),
        (-0.0181508, -0.1005789, 1.1187297),
    ),
    DCI_P3: _P3_TO_SRGB,
    DISPLAY_P3: _P3_TO_SRGB,
}


class Colours(NamedTuple):
    """Code points of H.273: the primaries, and the transfer characteristics."""

    primaries: int
    transfer: int

    @property
    def is_srgb(self) -> bool:
        """Whether the pixels need no conversion: sRGB, what is shown as such (BT.709, BT.601), or
        what is not known here.
        """
        return self.primaries not in TO_SRGB and self.transfer not in (LINEAR, PQ, HLG)


def colours_of(data: bytes) -> Colours | None:
    """Return the code points of an AVIF file, those of its first property `colr` of that type; None
    when there is none.
    """
    meta = _box(data, 0, len(data), b"meta")
    inside = _box(data, meta[0] + 4, meta[1], b"iprp") if meta else None
    properties = _box(data, *inside, b"ipco") if inside else None
    at, end = properties or (0, 0)
    while found := _box(data, at, end, b"colr"):
        at = found[1]
        if data[found[0] : found[0] + 4] == b"nclx":
            return Colours(
                int.from_bytes(data[found[0] + 4 : found[0] + 6], "big"),
                int.from_bytes(data[found[0] + 6 : found[0] + 8], "big"),
            )
    return None


def to_srgb(image: Image.Image, colours: Colours) -> Image.Image:
    """Return an RGB picture (8 bit) in sRGB."""
    linear = _linear(colours.transfer)
    matrix = np.array(TO_SRGB.get(colours.primaries, np.eye(3)), np.float32).T
    encoded = _encode(np.linspace(0, 1, 4096, dtype=np.float32))
    out = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, ROWS):
        strip = linear[np.asarray(image.crop((0, top, image.width, min(top + ROWS, image.height))))]
        if colours.transfer == HLG:  # the display's own gamma, 1.2 at 1000 nits (BT.2100)
            light = strip @ np.array((0.2627, 0.6780, 0.0593), np.float32)
            strip = strip * (np.maximum(light, 1e-6) ** 0.2)[..., None] * (PEAK / WHITE)
        strip = strip @ matrix
        if colours.transfer in (PQ, HLG):
            brightest = np.maximum(strip.max(axis=-1, keepdims=True), 1e-6)
            strip = strip * (_roll_off(brightest) / brightest)
        out[top : top + ROWS] = encoded[(strip.clip(0, 1) * 4095).round().astype(np.int32)]
    return Image.fromarray(out)


def _linear(transfer: int) -> np.ndarray:
    """Return linear light for each of 256 code values, 1 at white; of HLG, scene light, 0 to 1."""
    code = np.linspace(0, 1, 256, dtype=np.float64)
    if transfer == LINEAR:
        light = code
    elif transfer == PQ:  # SMPTE ST 2084
        root = code ** (1 / 78.84375)
        ratio = np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)
        light = 10_000 * ratio ** (1 / 0.1593017578125) / WHITE
    elif transfer == HLG:  # ITU-R BT.2100
        light = np.where(
            code <= 0.5, code**2 / 3, (np.exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12
        )
    else:  # sRGB; BT.709 is shown with the same curve
        light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


def _encode(light: np.ndarray) -> np.ndarray:
    """Return sRGB code values, uint8, of linear light, 0 to 1."""
    code = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray((code * 255).round().astype(np.uint8))


def _roll_off(light: np.ndarray) -> np.ndarray:
    """Return light with PEAK at 1, unchanged below KNEE, without a kink between."""
    peak = PEAK / WHITE
    a = -(KNEE**2) * (peak - 1) / (KNEE**2 - 2 * KNEE + peak)
    b = (KNEE**2 - 2 * KNEE * peak + peak) / (peak - 1)
    bent = (b**2 + 2 * b * KNEE + KNEE**2) / (b - a) * (light + a) / (light + b)
    return np.where(light <= KNEE, light, bent)


def _box(data: bytes, at: int, end: int, kind: bytes) -> tuple[int, int] | None:
    """Return where the content of the first ISO box of this kind begins and ends."""
    while at + 8 <= end:
        size = int.from_bytes(data[at : at + 4], "big") or end - at
        start = at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        if size < start - at or at + size > end:
            return None
        if data[at + 4 : at + 8] == kind:
            return start, at + size
        at += size
    return None
