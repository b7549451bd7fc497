"""XMP beside the pixels: what kind of source a picture has, in IPTC's words, put into a finished
file without encoding it again.

`Iptc4xmpExt:DigitalSourceType` is the property that IPTC, Google and others read to tell generated
pictures from photographs (IPTC Photo Metadata Standard 2022.1,
https://cv.iptc.org/newscodes/digitalsourcetype/). Where each format keeps its packet: JPEG in an
APP1 segment, PNG in an iTXt chunk, WebP in a chunk of the extended format, MP4 in a `uuid` box (XMP
Specification Part 3). The coded pixels are copied as they are.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import Literal, get_args

Source = Literal[
    "trainedAlgorithmicMedia",
    "compositeWithTrainedAlgorithmicMedia",
    "algorithmicMedia",
    "algorithmicallyEnhanced",
    "digitalCapture",
    "computationalCapture",
    "negativeFilm",
    "positiveFilm",
    "print",
    "humanEdits",
    "composite",
    "compositeCapture",
    "compositeSynthetic",
    "dataDrivenMedia",
    "digitalCreation",
    "screenCapture",
    "virtualRecording",
]
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"

JPEG_SIGNATURE = b"http://ns.adobe.com/xap/1.0/\0"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_KEYWORD = b"XML:com.adobe.xmp\0\0\0\0\0"  # not compressed, no language, no translated keyword
MP4_UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")

_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'Iptc4xmpExt:DigitalSourceType="{uri}"/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


def media_type(data: bytes) -> str | None:
    """Return image/jpeg, image/png, image/webp or video/mp4, by the first bytes; None for anything
    else.
    """
    if data[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    if data[:8] == PNG_SIGNATURE:
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return "video/mp4" if data[4:8] == b"ftyp" else None


def source_type(data: bytes) -> Source | None:
    """Return what a file says of its own source: the IPTC code in its XMP, or in a C2PA manifest,
    which is not verified. None where it says nothing, or something that is no code of IPTC's.
    """
    found = re.search(re.escape(DIGITAL_SOURCE_TYPE.encode()) + rb"([A-Za-z]{4,50})", data)
    code = found[1].decode() if found else ""
    return next((known for known in get_args(Source) if known == code), None)


def with_source_type(data: bytes, source: Source) -> bytes:
    """Return the file with an XMP packet that says `source`; one that was there is replaced. The
    same bytes always give the same bytes.

    data: a whole JPEG, PNG, WebP or MP4 file, as this project's encoders write them. Raises
    ValueError for any other.
    """
    packet = _PACKET.format(uri=DIGITAL_SOURCE_TYPE + source).encode()
    match media_type(data):
        case "image/jpeg":
            return _jpeg(data, packet)
        case "image/png":
            return _png(data, packet)
        case "image/webp":
            return _webp(data, packet)
        case "video/mp4":
            return _mp4(data, packet)
    raise ValueError("neither JPEG, PNG, WebP nor MP4")


def _jpeg(data: bytes, packet: bytes) -> bytes:
    """Insert behind the JFIF segment, which readers expect to come first."""
    at, parts = 2, [data[:2]]
    behind = 1
    while data[at : at + 1] == b"\xff" and data[at + 1] in (0xE0, 0xE1):
        length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at : at + length]
        if not segment[4:].startswith(JPEG_SIGNATURE):
            parts.append(segment)
            behind += segment[1] == 0xE0
        at += length
    body = JPEG_SIGNATURE + packet
    parts.insert(behind, b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body)
    return b"".join([*parts, data[at:]])


def _png(data: bytes, packet: bytes) -> bytes:
    """Insert behind IHDR, before the pixels: a reader of the head alone finds it."""
    parts, at = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : end - 4]
        if not (kind == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0")):
            parts.append(data[at:end])
        if kind == b"IDAT":  # metadata of ours stands before the pixels
            parts.append(data[end:])
            break
        at = end
    body = b"iTXt" + PNG_KEYWORD + packet
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return b"".join([*parts[:2], chunk, *parts[2:]])


def _webp(data: bytes, packet: bytes) -> bytes:
    """Insert at the end, as the extended format wants it; a simple file gets the head of the
    extended format.
    """
    chunks, at = [], 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    if chunks[0][0] != b"VP8X":
        chunks.insert(0, (b"VP8X", _extended_head(*chunks[0])))
    head = bytearray(chunks[0][1])
    head[0] |= 0x04  # there is XMP
    chunks = [
        (b"VP8X", bytes(head)),
        *(chunk for chunk in chunks[1:] if chunk[0] != b"XMP "),
        (b"XMP ", packet),
    ]
    body = b"".join(
        name + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2)
        for name, part in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _extended_head(name: bytes, body: bytes) -> bytes:
    """Return the body of VP8X for a simple file: flags and the size, from the bit stream's own head
    (RFC 9649, sections 2.5 to 2.7).
    """
    if name == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        width, height, alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    else:
        width, height, alpha = *(side & 0x3FFF for side in struct.unpack("<HH", body[6:10])), False
    return (
        bytes([0x10 if alpha else 0, 0, 0, 0])
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )


def _mp4(data: bytes, packet: bytes) -> bytes:
    """Append behind everything, so that no offset in the file changes."""
    body = b"uuid" + MP4_UUID + packet
    tail = struct.pack(">I", len(body) + 4)
    at = data.rfind(b"uuid" + MP4_UUID)
    if at >= 4 and at - 4 + int.from_bytes(data[at - 4 : at], "big") == len(data):
        data = data[: at - 4]
    return data + tail + body
