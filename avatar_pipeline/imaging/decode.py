"""Decode the kinds of pictures that are read, once, upright, in the file's own colours.

JPEG (of MPO and Ultra HDR the first picture), PNG, WebP and AVIF through Pillow, HEIC through
pi_heif, which decodes only: libheif and libde265 (LGPL), without x265 (GPL).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from PIL import Image

from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.imaging.kinds import ENOUGH, kind_of
from avatar_pipeline.imaging.nclx import Colours, colours_of
from avatar_pipeline.imaging.png_chunks import SIGNATURE, without_texts
from avatar_pipeline.imaging.profiles import NCLX

if TYPE_CHECKING:
    from pi_heif import HeifImage

# imgproxy's cap: about 150 MB decoded, and more than any phone camera's default
MAX_PIXELS = 50_000_000
# libwebp's animation decoder holds four copies of the picture, Pillow's PNG and JPEG decoders one
MAX_PIXELS_WEBP = 25_000_000
PILLOW = ("JPEG", "PNG", "WEBP", "AVIF")

# EXIF orientation -> the transposition that turns the picture upright (EXIF 2.3, tag 0x0112). 1 is
# upright already.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION = 0x0112


def decode(data: bytes, name: str) -> Image.Image:
    """Return the picture upright, in the file's own mode, 8 bit but for 16-bit grey; its `info`
    holds its profile. A new picture: the reader, which holds on to its buffers, is let go.

    Raises PhotoError above the caps, and whatever the libraries raise for a damaged file.
    """
    if kind_of(data[:ENOUGH]) == "HEIC":
        return _decode_heic(data, name)
    with _loaded(data, name) as image:
        orientation = _orientation(image)
        if image.format == "AVIF" and "icc_profile" not in image.info:
            image.info[NCLX] = colours_of(data)
        return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image.copy()


def orientation_of(data: bytes) -> int:
    """Return by how much `open_image` turns a photograph that it could read: its orientation in
    EXIF, or in an AVIF's container, 1 to 8; 1 is upright. libheif turns a HEIC itself: 1.
    """
    if kind_of(data[:ENOUGH]) == "HEIC":
        return 1
    with _opened(data) as image:
        return _orientation(image)


def is_opaque(data: bytes) -> bool:
    """Return whether no pixel of a picture that `open_image` could read is transparent. One without
    transparency is not decoded.
    """
    if kind_of(data[:ENOUGH]) == "HEIC":
        if not _primary(data).has_alpha:
            return True
    else:
        with _opened(data) as image:
            if not image.has_transparency_data:
                return True
    picture = decode(data, "the picture").convert("RGBA")
    return bool(picture.getchannel("A").getextrema()[0] == 255)


def moves(data: bytes) -> bool:
    """Return whether a picture has more than one frame. A JPEG with further pictures behind it
    (MPO, Ultra HDR) and a burst in a HEIC do not move.
    """
    if kind_of(data[:ENOUGH]) in ("HEIC", "JPEG"):
        return False
    with _opened(data) as image:
        return bool(getattr(image, "is_animated", False))


@contextmanager
def _loaded(data: bytes, name: str) -> Iterator[Image.Image]:
    """Give Pillow's picture of a file, its pixels decoded. A PNG whose texts are too long for
    Pillow is read without them.
    """
    try:
        with Image.open(io.BytesIO(data), formats=PILLOW) as image:
            _require_size(image.size, image.format or "", name)
            image.load()
            yield image
            return
    except ValueError:
        if not data.startswith(SIGNATURE):
            raise
    shorter, profile = without_texts(data)
    with Image.open(io.BytesIO(shorter), formats=PILLOW) as image:
        _require_size(image.size, image.format or "", name)
        image.load()
        if profile:
            image.info["icc_profile"] = profile
        yield image


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """Give Pillow's picture of a file, its pixels not decoded."""
    try:
        image = Image.open(io.BytesIO(data), formats=PILLOW)
    except ValueError:
        image = Image.open(io.BytesIO(without_texts(data)[0]), formats=PILLOW)
    with image:
        yield image


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 when there is none. Damaged EXIF counts as none: every viewer
    shows such a picture as stored.

    Not by Pillow's getexif(), which falls back to XMP: browsers and cv2.imread do not. Of an AVIF
    Pillow puts here what the container says, which outranks EXIF.
    """
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif") or b"")
        return int(exif.get(ORIENTATION, 1))
    except Exception:  # Pillow's EXIF reader trusts offsets and types as they stand in the file
        return 1


def _require_size(size: tuple[int, int], kind: str, name: str) -> None:
    width, height = size
    limit = MAX_PIXELS_WEBP if kind == "WEBP" else MAX_PIXELS
    if width * height > limit:
        raise too_large(name, f"{width}x{height} pixels", limit)


def too_large(name: str, size: str, limit: int = MAX_PIXELS) -> PhotoError:
    """Return the error for a picture above the cap. size: in words. limit: in pixels."""
    return PhotoError(
        f"{name} is too large: {size}, at most {limit // 1_000_000} megapixels. Save a smaller "
        "copy of the photograph."
    )


def _decode_heic(data: bytes, name: str) -> Image.Image:
    """Return the primary picture of a HEIC file: of a burst or a Live Photo the one that is shown,
    without gain map, depth and thumbnails.
    """
    picture = _primary(data)
    _require_size(picture.size, "HEIC", name)
    picture.load()
    image = Image.frombytes(
        picture.mode, picture.size, picture.data, "raw", picture.mode, picture.stride
    )
    image.info = {
        key: picture.info[key] for key in ("icc_profile",) if picture.info.get(key) is not None
    }
    nclx = picture.info.get("nclx_profile")
    if nclx:
        image.info[NCLX] = Colours(
            int(nclx["color_primaries"]), int(nclx["transfer_characteristics"])
        )
    return image


def _primary(data: bytes) -> HeifImage:
    """Return the picture of a HEIC file that is shown, not decoded; libheif turns it upright."""
    import pi_heif

    file = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
    return file[file.primary_index]
