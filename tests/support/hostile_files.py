"""Files that no photographer means to hand in, and a few that only look odd: what each must come
out as.

Each entry makes one file or folder. `readable`: it is judged like any picture; otherwise the
message holds the words in `says`.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

SMALL = 96  # pixels a side of most of them: what is asked is whether they are read


@dataclass(frozen=True)
class Hostile:
    """A file name, what writes it, and what preflight must make of it: `says` is empty for one that
    is judged.
    """

    name: str
    make: Callable[[Path], object]
    says: str = ""
    size: tuple[int, int] | None = (SMALL, SMALL)


def picture(width: int = SMALL, height: int = SMALL) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    )


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int,
    height: int,
    colour_type: int,
    depth: int,
    row: bytes | None = None,
    extra: bytes = b"",
) -> bytes:
    """A PNG from its parts: `height` equal rows, compressed as they come, so that a huge one needs
    no memory. Without a row: no rows.
    """
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    packer = zlib.compressobj(1)
    body = (
        b"".join(packer.compress(b"\0" + row) for _ in range(height)) + packer.flush()
        if row is not None
        else b""
    )
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", body)
        + chunk(b"IEND", b"")
    )


def rotated(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(picture(SMALL, SMALL + 20), "JPEG", exif=exif)


def with_exif(exif: bytes) -> bytes:
    """A JPEG with this APP1 segment, whatever it holds."""
    data = saved(picture(), "JPEG")
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def huge_exif() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    exif[0x9286] = b"y" * 4_000
    return saved(picture(), "PNG", exif=exif)


def wide_gamut() -> bytes:
    """sRGB's profile with red and green exchanged, under another name: what a wide gamut profile is
    to the reader.
    """
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"rXYZ", b"tmpX").replace(b"gXYZ", b"rXYZ").replace(b"tmpX", b"gXYZ")
    return profile.replace("sRGB".encode("utf-16-be"), "xxxx".encode("utf-16-be")).replace(
        b"sRGB", b"xxxx"
    )


def animation(kind: str) -> bytes:
    return saved(picture(), kind, save_all=True, append_images=[picture().rotate(90)], duration=100)


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.txt", "text")
    return buffer.getvalue()


def too_long(path: Path) -> None:
    path.touch()
    os.truncate(path, 70_000_000)


def data(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


JPEG, PNG, WEBP = saved(picture(), "JPEG"), saved(picture(), "PNG"), saved(picture(), "WEBP")
GREY16 = Image.fromarray(
    np.linspace(0, 65535, SMALL * SMALL).reshape(SMALL, SMALL).astype(np.uint16)
)
TEXT_BOMB = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000)))
NOT_KNOWN = "none of JPEG, PNG, WEBP"
DAMAGED = "damaged or cut off"

FILES = (
    Hostile("truncated.jpg", data(JPEG[: len(JPEG) // 2]), DAMAGED),
    Hostile("truncated.png", data(PNG[: len(PNG) // 2]), DAMAGED),
    Hostile("truncated.webp", data(WEBP[: len(WEBP) // 2]), "truncated.webp is"),
    Hostile("header_only.jpg", data(b"\xff\xd8\xff"), NOT_KNOWN),
    Hostile("no_rows.png", data(png(SMALL, SMALL, 2, 8)), DAMAGED),
    Hostile("no_size.png", data(png(0, 0, 2, 8, b"")), "no_size.png is"),
    Hostile("negative.png", data(png(0xFFFFFFFF, 16, 2, 8)), "negative.png is"),
    Hostile("odd_depth.png", data(png(SMALL, SMALL, 2, 77, b"")), "odd_depth.png is"),
    Hostile("garbage_inside.jpg", data(JPEG[:-2000] + bytes(range(1, 101)) * 10 + JPEG[-1000:])),
    Hostile("empty.jpg", data(b""), "is empty (0 bytes)"),
    Hostile("zeros.jpg", data(bytes(5000)), NOT_KNOWN),
    Hostile("text.jpg", data(b"This is a text.\n" * 50), NOT_KNOWN),
    Hostile("page.jpg", data(b"<!doctype html><script>alert(1)</script>"), NOT_KNOWN),
    Hostile(
        "drawing.jpg",
        data(b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'),
        NOT_KNOWN,
    ),
    Hostile("archive.png", data(archive()), NOT_KNOWN),
    Hostile(
        "postscript.jpg", data(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), NOT_KNOWN
    ),
    Hostile("icon.jpg", data(saved(picture(32, 32), "ICO")), NOT_KNOWN),
    Hostile("bitmap.bmp", data(saved(picture(), "BMP")), NOT_KNOWN),
    Hostile("pages.tiff", data(animation("TIFF")), NOT_KNOWN),
    Hostile("animation.gif", data(animation("GIF")), NOT_KNOWN),
    Hostile("a_png.jpg", data(PNG)),
    Hostile("a_jpeg.png", data(JPEG)),
    Hostile("animation.png", data(animation("PNG"))),
    Hostile("animation.webp", data(animation("WEBP"))),
    Hostile("bomb_20000.png", data(png(20_000, 20_000, 2, 8, bytes(60_000))), "too large"),
    Hostile("bomb_7072.png", data(png(7_072, 7_072, 0, 1, bytes(884))), "too large: 7072x7072"),
    Hostile(
        "bomb_webp.webp",
        data(saved(Image.new("RGB", (5_001, 5_000)), "WEBP", method=0)),
        "at most 25 megapixels",
    ),
    Hostile("largest.png", data(png(7_071, 7_071, 6, 8, bytes(28_284))), size=(7_071, 7_071)),
    Hostile("too_long.jpg", too_long, "more than 64 MiB"),
    Hostile("bomb_text.png", data(png(SMALL, SMALL, 0, 8, bytes(SMALL), TEXT_BOMB))),
    Hostile("cmyk.jpg", data(saved(picture().convert("CMYK"), "JPEG"))),
    Hostile("progressive.jpg", data(saved(picture(), "JPEG", progressive=True))),
    Hostile("grey.jpg", data(saved(picture().convert("L"), "JPEG"))),
    Hostile("grey_16.png", data(saved(GREY16, "PNG"))),
    Hostile("colour_16.png", data(png(SMALL, SMALL, 2, 16, bytes(SMALL * 6)))),
    Hostile("one_bit.png", data(saved(picture().convert("1"), "PNG"))),
    Hostile("palette.png", data(saved(picture().quantize(16), "PNG", transparency=3))),
    Hostile("rgba.png", data(saved(picture().convert("RGBA"), "PNG"))),
    Hostile("grey_alpha.png", data(saved(picture().convert("LA"), "PNG"))),
    *(
        Hostile(
            f"turned_{o}.jpg",
            data(rotated(o)),
            size=(SMALL, SMALL + 20) if o < 5 else (SMALL + 20, SMALL),
        )
        for o in range(1, 9)
    ),
    Hostile("turned_99.jpg", data(rotated(99)), size=(SMALL, SMALL + 20)),
    Hostile("exif_huge.png", data(huge_exif())),
    Hostile("exif_broken.jpg", data(with_exif(b"Exif\0\0MM\0*\xff\xff\xff\xf0\x99\x99"))),
    Hostile(
        "exif_loop.jpg",
        data(
            with_exif(b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08\0\0\0\x08")
        ),
    ),
    Hostile("icc_wide.png", data(saved(picture(), "PNG", icc_profile=wide_gamut()))),
    Hostile("icc_broken.png", data(saved(picture(), "PNG", icc_profile=wide_gamut()[:200]))),
    Hostile("icc_no_profile.jpg", data(saved(picture(), "JPEG", icc_profile=b"no profile"))),
    Hostile("one_pixel.png", data(saved(picture(1, 1), "PNG")), size=(1, 1)),
    Hostile("strip.png", data(saved(picture(20_000, 10), "PNG")), size=(20_000, 10)),
    Hostile("thread.png", data(saved(picture(1, 30_000), "PNG")), size=(1, 30_000)),
    Hostile(f"{'n' * 251}.png", data(PNG)),
    Hostile("new\nline\x1b[31m\u202egnp.jpg", data(PNG)),
    Hostile("<img src=x onerror=alert(1)>.jpg", data(PNG)),
    Hostile("{{script}}'\"&amp;.jpg", data(PNG)),
    Hostile(
        "dangling.jpg",
        lambda path: path.symlink_to(path.parent / "not there"),
        "a link to a file that is not there",
    ),
    Hostile("loop.jpg", lambda path: path.symlink_to(path), "loop.jpg"),
    Hostile("pipe.jpg", lambda path: os.mkfifo(path), "no ordinary file"),
)
