"""PNG files whose texts or colour profile are longer than Pillow takes (1 MiB, unpacked).

A text says nothing of the pixels, and is left out. A profile is unpacked here, up to what a JPEG
could hold of it.
"""

from __future__ import annotations

import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
PROFILE = b"iCCP"
MAX_PROFILE = 255 * 65519  # bytes: 255 segments of a JPEG


def without_texts(data: bytes) -> tuple[bytes, bytes | None]:
    """Return a PNG without its texts and its colour profile, and the profile.

    data: any bytes; those that are no PNG come back as they are. The profile is None when there is
    none, or when it is damaged or longer than 16 MiB.
    """
    kept, profile, at = [data[:8]], None, 8
    while data.startswith(SIGNATURE) and at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind == PROFILE:
            profile = _unpack(data[at + 8 : end - 4])
        elif kind not in TEXTS:
            kept.append(data[at:end])
        at = end
    return (b"".join(kept), profile) if at > 8 else (data, None)


def _unpack(chunk: bytes) -> bytes | None:
    """Return the profile in a chunk: a name, a zero, the method (0), and what zlib packed."""
    _, _, packed = chunk.partition(b"\0")
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(packed[1:], MAX_PROFILE)
    except zlib.error:
        return None
    return profile if unpacker.eof else None
