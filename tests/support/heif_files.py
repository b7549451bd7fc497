"""HEIC and AVIF files as phones and cameras write them, from their parts (ISO/IEC 23008-12): no
library here writes HEIC. The frames are HEVC's, encoded by PyAV; the boxes are put together here.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import av
import numpy as np
from PIL import Image

BT709, DISPLAY_P3, BT2020 = 1, 12, 9  # primaries (ITU-T H.273)
SRGB, PQ, HLG = 13, 16, 18  # transfer characteristics
# EXIF orientation -> the container's rotation (quarter turns, anticlockwise) and then its mirror
# (1: left and right exchanged), that show the same.
IROT_IMIR: dict[int, tuple[int, int | None]] = {
    1: (0, None),
    2: (0, 1),
    3: (2, None),
    4: (0, 0),
    5: (1, 0),
    6: (3, None),
    7: (3, 0),
    8: (1, None),
}


@dataclass(frozen=True)
class Look:
    """What a HEIC says of its picture. depth: bits, 8 or 10. orientation: 1 to 8, in the container.
    exif: an EXIF block beside it. code_points: primaries and transfer.
    """

    depth: int = 8
    orientation: int = 1
    exif: bytes = b""
    icc: bytes = b""
    code_points: tuple[int, int] = (BT709, SRGB)
    brand: bytes = b"heic"
    burst: bool = False  # another picture beside the primary one
    tile: int = 0  # pixels a side of its tiles, as phones cut it; 0: one frame


def heic(picture: Image.Image | np.ndarray, look: Look | None = None) -> bytes:
    """Return a HEIC file of a picture: RGB, RGBA or L; or of uint16 values (H, W, 3), 0 to 1023,
    with a depth of 10.
    """
    look = look or Look()
    if isinstance(picture, Image.Image):
        alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
        grey = picture.mode == "L"
        pixels = np.asarray(picture if grey else picture.convert("RGB")).astype(np.float64)
        pixels = pixels / 255 * (2**look.depth - 1)
    else:
        alpha, grey, pixels = None, False, picture.astype(np.float64)
    planes = _yuv(pixels)
    tiles = _tiles(planes, look, grey) if look.tile else []
    items = [_grid(planes, look) if look.tile else _Item.of(planes, look.depth, grey)]
    if alpha is not None:
        items.append(_Item.of(np.asarray(alpha).astype(np.float64)[None], 8, True))
    if look.burst:
        items.append(_Item.of(np.full((1, 64, 64), 40.0), 8, True))
    return _file([*items, *tiles], len(tiles), look, alpha is not None)


@contextmanager
def scheduling_kept() -> Iterator[None]:
    """Put this thread's scheduling back afterwards: for root, SVT-AV1 makes the thread that opens
    an encoder a real-time one of the highest priority, and leaves it so. Whatever the thread starts
    later inherits that, and then hardly anything else runs.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def avif_10_bit(picture: Image.Image) -> bytes:
    """Return an AVIF of 10 bits; Pillow writes 8."""
    buffer = io.BytesIO()
    with scheduling_kept(), av.open(buffer, "w", format="avif") as file:
        stream = file.add_stream("libsvtav1", rate=1, options={"crf": "10", "preset": "10"})
        stream.width, stream.height, stream.pix_fmt = *picture.size, "yuv420p10le"
        frame = av.VideoFrame.from_ndarray(np.asarray(picture.convert("RGB")), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    return buffer.getvalue()


@dataclass(frozen=True)
class _Item:
    """A coded picture: the decoder's configuration, its frame, and its size and depth."""

    config: bytes
    data: bytes
    size: tuple[int, int]
    depth: int
    channels: int
    kind: bytes = b"hvc1"

    @staticmethod
    def of(planes: np.ndarray, depth: int, grey: bool) -> _Item:
        """planes: (C, H, W), in code values."""
        height, width = planes.shape[1:]
        code = planes.round().astype(np.uint16 if depth > 8 else np.uint8)
        kind = ("gray" if grey else "yuv444p") + ("10le" if depth > 8 else "")
        frame = av.VideoFrame(width, height, kind)
        for plane, values in zip(frame.planes, code, strict=True):
            rows = np.zeros((height, plane.line_size // code.itemsize), code.dtype)
            rows[:, :width] = values
            plane.update(rows)
        encoder = av.CodecContext.create("libx265", "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, kind
        encoder.time_base = 1
        encoder.options = {
            "x265-params": "crf=4:keyint=1:range=full:log-level=none",
            "preset": "ultrafast",
        }
        packets = [*encoder.encode(frame), *encoder.encode(None)]
        units = _units(b"".join(bytes(packet) for packet in packets))
        sets = [unit for unit in units if unit[0] >> 1 & 63 in (32, 33, 34)]
        slices = [unit for unit in units if unit[0] >> 1 & 63 < 32]
        return _Item(
            _hvcc(sets, depth, grey),
            b"".join(struct.pack(">I", len(unit)) + unit for unit in slices),
            (width, height),
            depth,
            1 if grey else 3,
        )


def _tiles(planes: np.ndarray, look: Look, grey: bool) -> list[_Item]:
    """Return a picture in tiles, row by row; the last ones repeat the picture's edge."""
    height, width = planes.shape[1:]
    beyond = [(0, 0), (0, -height % look.tile), (0, -width % look.tile)]
    whole = np.pad(planes, beyond, mode="edge")
    return [
        _Item.of(whole[:, y : y + look.tile, x : x + look.tile], look.depth, grey)
        for y in range(0, height, look.tile)
        for x in range(0, width, look.tile)
    ]


def _grid(planes: np.ndarray, look: Look) -> _Item:
    channels, height, width = planes.shape
    rows, columns = -(-height // look.tile), -(-width // look.tile)
    data = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    return _Item(b"", data, (width, height), look.depth, channels, b"grid")


def _yuv(rgb: np.ndarray) -> np.ndarray:
    """Return planes (C, H, W) of BT.601 in full range, in the same code values; grey stays grey."""
    if rgb.ndim == 2:
        return rgb[None]
    top = 255 if rgb.max() <= 255 else 1023
    red, green, blue = np.moveaxis(rgb, -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    middle = (top + 1) / 2
    return np.stack([luma, (blue - luma) / 1.772 + middle, (red - luma) / 1.402 + middle]).clip(
        0, top
    )


def _units(stream: bytes) -> list[bytes]:
    """Return the units of a stream with start codes."""
    return [
        unit.rstrip(b"\0")
        for unit in stream.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
        if unit
    ]


def _hvcc(sets: list[bytes], depth: int, grey: bool) -> bytes:
    sps = next(unit for unit in sets if unit[0] >> 1 & 63 == 33).replace(b"\0\0\3", b"\0\0")
    arrays = b"".join(
        bytes([0x80 | unit[0] >> 1 & 63]) + struct.pack(">HH", 1, len(unit)) + unit for unit in sets
    )
    chroma = 0 if grey else 3
    return (
        b"\1"
        + sps[3:15]
        + b"\xf0\0\xfc"
        + bytes([0xFC | chroma, 0xF8 | depth - 8, 0xF8 | depth - 8])
        + b"\0\0\x0f"
        + bytes([len(sets)])
        + arrays
    )


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def _full(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *parts)


def _file(items: list[_Item], tiles: int, look: Look, has_alpha: bool) -> bytes:
    """Return the file. The first item is the primary one; where there is an alpha, the second. The
    last ones are its tiles, where it has some.
    """
    properties: list[bytes] = []
    owned: list[list[int]] = []

    def give(item: int, box: bytes, essential: bool = False) -> None:
        if box not in properties:
            properties.append(box)
        owned[item].append(properties.index(box) + 1 | (0x80 if essential else 0))

    for number, item in enumerate(items):
        owned.append([])
        if item.config:
            give(number, _box(b"hvcC", item.config), True)
        give(number, _full(b"ispe", struct.pack(">II", *item.size)))
        give(number, _full(b"pixi", bytes([item.channels, *[item.depth] * item.channels])))
        if number == 0 and look.icc:
            give(0, _box(b"colr", b"prof", look.icc))
        if number == 0:
            code = struct.pack(">HHHB", *look.code_points, 6, 0x80)
            give(0, _box(b"colr", b"nclx", code))
        if number == 1 and has_alpha:
            give(1, _full(b"auxC", b"urn:mpeg:hevc:2015:auxid:1\0"))
        if number < 1 + has_alpha:
            turns, mirror = IROT_IMIR[look.orientation]
            if turns:
                give(number, _box(b"irot", bytes([turns])), True)
            if mirror is not None:
                give(number, _box(b"imir", bytes([mirror])), True)
    contents = [item.data for item in items]
    kinds = [item.kind for item in items]
    references = b""
    if tiles:
        numbers = range(len(items) - tiles + 1, len(items) + 1)
        references += _box(b"dimg", struct.pack(f">HH{tiles}H", 1, tiles, *numbers))
    if has_alpha:
        references += _box(b"auxl", struct.pack(">HHH", 2, 1, 1))
    if look.exif:
        contents.append(b"\0\0\0\0" + look.exif)
        kinds.append(b"Exif")
        references += _box(b"cdsc", struct.pack(">HHH", len(kinds), 1, 1))
    entries = [
        _full(
            *(b"infe", struct.pack(">HH", number, 0), kind, b"\0"),
            version=2,
            flags=int(len(items) - tiles < number <= len(items)),  # 1: hidden
        )
        for number, kind in enumerate(kinds, 1)
    ]
    associations = b"".join(
        struct.pack(">HB", number, len(own)) + bytes(own) for number, own in enumerate(owned, 1)
    )

    def meta(start: int) -> bytes:
        places, at = b"", start
        for number, content in enumerate(contents, 1):
            places += struct.pack(">HHHII", number, 0, 1, at, len(content))
            at += len(content)
        return _full(
            b"meta",
            _full(b"hdlr", b"\0\0\0\0pict", bytes(12), b"\0"),
            _full(b"pitm", struct.pack(">H", 1)),
            _full(b"iloc", b"\x44\0", struct.pack(">H", len(contents)), places),
            _full(b"iinf", struct.pack(">H", len(entries)), *entries),
            _full(b"iref", references) if references else b"",
            _box(
                b"iprp",
                _box(b"ipco", *properties),
                _full(b"ipma", struct.pack(">I", len(owned)), associations),
            ),
        )

    head = _box(b"ftyp", look.brand, b"\0\0\0\0", b"mif1", b"heic", b"heix")
    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + _box(b"mdat", *contents)
