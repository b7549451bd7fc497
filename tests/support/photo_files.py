"""Photographs as programs and phones write them, with what viewers do not all take alike: profiles,
orientations, long texts, several pictures in a file.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from tests.support.hostile_files import chunk

ORIENTATION = 0x0112


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(width: int = 64, height: int = 48) -> Image.Image:
    """A smooth picture in colours, which every codec keeps."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return Image.fromarray((np.stack([x, y, (x + y) / 2], -1) * 255).astype(np.uint8))


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[ORIENTATION] = orientation
    return block.tobytes()


def xmp(orientation: int) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/'
        b'22-rdf-syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        b'tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>' % orientation
    )


def profile(space: bytes, gamma: float | None, name: str) -> bytes:
    """Return an ICC profile (version 2) of one gamma: RGB with sRGB's primaries, or GRAY. gamma:
    None for sRGB's curve, in 1024 steps.
    """
    if gamma is None:
        code = np.linspace(0, 1, 1024)
        light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
        steps = (light * 65535).round().astype(">u2").tobytes()
        curve = b"curv\0\0\0\0" + struct.pack(">I", 1024) + steps
    else:
        curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = name.encode() + b"\0"
    described = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    tags = {b"desc": described, b"wtpt": _xyz(0.9642, 1.0, 0.8249)}
    if space == b"RGB ":
        tags |= {
            b"rXYZ": _xyz(0.43607, 0.22249, 0.01392),
            b"gXYZ": _xyz(0.38515, 0.71687, 0.09708),
            b"bXYZ": _xyz(0.14307, 0.06061, 0.71410),
            **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
        }
    else:
        tags[b"kTRC"] = curve
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for tag, value in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = bytearray(128)
    head[8:12] = b"\2\x10\0\0"
    head[12:24] = b"mntr" + space + b"XYZ "
    head[36:40] = b"acsp"
    head[68:80] = _xyz(0.9642, 1.0, 0.8249)[8:]
    whole = bytes(head) + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def longer(icc: bytes, size: int) -> bytes:
    """Return a profile with so many bytes more behind it, which no tag names."""
    whole = icc + np.random.default_rng(0).bytes(size)
    return struct.pack(">I", len(whole)) + whole[4:]


def with_chunk(png: bytes, kind: bytes, body: bytes) -> bytes:
    """Return a PNG with one chunk more, behind its header."""
    return png[:33] + chunk(kind, body) + png[33:]


def long_text(size: int = 2_000_000) -> bytes:
    return b"workflow\0\0" + zlib.compress(bytes(size))


def mpo(image: Image.Image, **options: Any) -> bytes:
    """Return a JPEG with another, smaller picture behind it, as phones write it."""
    return saved(image, "MPO", save_all=True, append_images=[image.resize((16, 16))], **options)


def lab() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def _xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in (x, y, z))
