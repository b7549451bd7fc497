"""A manifest's bytes as they lie in a file, for what no hash in it covers and C2PA's reader does
not look at.

A signature has a fixed room, so that the file's length is known before it is signed; what it does
not fill are zeros (C2PA 2.4, section 13.2.3). A note hidden there would go unseen, or a flipped
bit. The same holds for the heads of the boxes: in pictures signed here they are known to the byte.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from avatar_pipeline.content_credentials.xmp import PNG_SIGNATURE, media_type

# the box of a manifest in MP4 (C2PA 2.4, section A.5.2)
C2PA_UUID = bytes.fromhex("D8FEC3D61B0E483C92975828877EC481")
# CBOR: the text "pad", then the head of a byte string
PAD = re.compile(rb"\x63pad(\x58.|\x59..|[\x40-\x57])", re.DOTALL)
# CBOR: no payload, as the claim stands elsewhere; then the 64 bytes of an ES256 signature
DETACHED = b"\xf6\x58\x40"
MAX_BOX_DEPTH = 8  # boxes in boxes; ours are store, manifest, list of assertions, assertion
# The heads of the boxes of a manifest made here: type, its description, label (ISO 19566-5,
# section 7.3).
_TYPE = bytes.fromhex("00110010800000AA00389B71")
HEADS = tuple(
    b"jumd" + kind + _TYPE + b"\x03" + label
    for kind, label in (
        (b"c2pa", b"c2pa\0"),
        (b"c2ma", b"urn:c2pa:"),
        (b"c2as", b"c2pa.assertions\0"),
        (b"c2cl", b"c2pa.claim.v2\0"),
        (b"c2cs", b"c2pa.signature\0"),
    )
)


def is_framed_as_written(data: bytes) -> bool:
    """Return whether what frames a manifest made here, in the file and inside of it, stands as it
    was written: heads, lengths, checksums.
    """
    store = manifest_store(data)
    framed = (
        all(head in store for head in HEADS)
        # with a label, and perhaps a salt
        and all(part[:1] in (b"\x03", b"\x13") for part in store.split(_TYPE)[1:])
        and DETACHED in store
        and len(padding_of_signatures(data)) == 1
        and _fills(store)
    )
    if media_type(data) == "image/jpeg":
        return framed and b"JP\x02\x11\x00\x00\x00\x01" + store[:4] in data
    if media_type(data) == "image/png":
        return framed and struct.pack(">I", zlib.crc32(b"caBX" + store)) in data
    return framed


def _fills(boxes: bytes, depth: int = 0) -> bool:
    """Return whether boxes of these lengths fill the bytes, and so do the boxes in them."""
    if depth > MAX_BOX_DEPTH:
        return False
    at = 0
    while at + 8 <= len(boxes):
        size = int.from_bytes(boxes[at : at + 4], "big")
        if size < 8 or (
            boxes[at + 4 : at + 8] == b"jumb" and not _fills(boxes[at + 8 : at + size], depth + 1)
        ):
            return False
        at += size
    return at == len(boxes)


def padding_of_signatures(data: bytes) -> list[bytes]:
    """Return the padding of each signature in a JPEG, PNG, WebP or MP4 file; as far as the file is
    whole.
    """
    found = []
    store = manifest_store(data)
    signatures = store.split(b"c2pa.signature\0")[1:]
    for part in signatures:
        if part[4:8] != b"cbor":  # the label stands in references too
            continue
        for head in PAD.finditer(part[: int.from_bytes(part[:4], "big")]):
            size = head[1][0] & 0x1F if len(head[1]) == 1 else int.from_bytes(head[1][1:], "big")
            found.append(part[head.end() : head.end() + size])
    return found


def manifest_store(data: bytes) -> bytes:
    """Return the manifest store of a file, empty when there is none."""
    readers = {"image/jpeg": _jpeg, "image/png": _png, "image/webp": _webp, "video/mp4": _mp4}
    kind = media_type(data)
    return b"".join(readers[kind](data)) if kind else b""


def _jpeg(data: bytes) -> Iterator[bytes]:
    """Yield APP11 segments of one box: each repeats the box's head, 8 bytes behind those of the
    segment (ISO 19566-5, annex D).
    """
    at, first = 2, True
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (0xDA, 0xD9):
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if size < 2:
            return
        if data[at + 1] == 0xEB and data[at + 4 : at + 6] == b"JP":
            yield data[at + 12 : at + 2 + size] if first else data[at + 20 : at + 2 + size]
            first = False
        at += 2 + size


def _png(data: bytes) -> Iterator[bytes]:
    at = len(PNG_SIGNATURE)
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"caBX":
            yield data[at + 8 : at + 8 + size]
        at += 12 + size


def _webp(data: bytes) -> Iterator[bytes]:
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"C2PA":
            yield data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _mp4(data: bytes) -> Iterator[bytes]:
    """Yield what follows the box's purpose (C2PA 2.4, section A.5.2)."""
    at = data.find(b"uuid" + C2PA_UUID)
    if at >= 4:
        box = data[at : at - 4 + int.from_bytes(data[at - 4 : at], "big")]
        yield box[max(box.find(b"jumb") - 4, 0) :]
