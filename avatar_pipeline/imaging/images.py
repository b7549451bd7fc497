"""Open images of unknown origin within limits; encode and compose images without metadata.

The threat: photographs come from anywhere. A small file may claim a billion pixels, may be cut off,
or may be no picture at all; a phone stores its pictures lying down, in a colour space of its own,
with the place where they were taken.
The mechanism: `open_image` reads ordinary files only, caps the bytes before parsing and the pixels
before decoding, knows three formats only, decodes once, gives upright sRGB pixels without any
metadata, and stays below 700 MB for the largest picture it takes.
Its limits: decoders are native code (libjpeg, libpng, libwebp through Pillow); a flaw in those is
not caught here. Nor is time bounded: a JPEG may ask for thousands of passes.

Bytes that were not made by this program go through `open_image`. Other modules call Pillow
themselves only for files that were made here, or that come with an installed package: openpeople's
pictures (core/openpeople.py, bundled_model/), DiceBear's drawings and the training's sheets
(cartoons/dicebear.py, cartoons/samples.py), curves and contact sheets (pipeline/assets/lora/,
orchestration/assets/); and `faces/readiness.py` reads the format and the transparency of bytes that
`open_image` has decoded before. tests/test_imaging.py holds the list. Pillow saves in one other
place, tasks/draw_finish.py, where WebP is encoded for the service.
"""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageChops, ImageCms, UnidentifiedImageError

from avatar_pipeline.core.errors import PhotoError

if TYPE_CHECKING:
    from upath import UPath

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_BYTES = 64 * 1024 * 1024  # a 50 MP JPEG of best quality has about 30 MB
# imgproxy's cap: about 150 MB decoded, and more than any phone camera's default
MAX_PIXELS = 50_000_000
# libwebp's animation decoder holds four copies of the picture, Pillow's PNG and JPEG decoders one
MAX_PIXELS_WEBP = 25_000_000

# Of a preview in Dagster's log, base64: an event holds up to three of them, and some databases and
# messages end at 1 MB. The contact sheet of 60 photographs has about 250,000.
PREVIEW_CHARACTERS = 280_000

# What shows through transparent pixels: the grey studio background that the prompts ask for. White
# would pull up every exposure measure, and halos around cut-out hair.
BACKDROP = (128, 128, 128)

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


def open_image(data: bytes | UPath | Path, *, name: str) -> Image.Image:
    """Decode a photograph: JPEG, PNG or WebP in, an upright RGB picture (8 bit, sRGB, no metadata)
    out.

    data: the file's bytes, or its path. name: what error messages call it. Transparency is laid
    onto mid grey, 16-bit grey is scaled to 8 bit, CMYK and palettes are converted, an embedded
    colour profile is applied; of an animation, the first frame is taken. Raises PhotoError when the
    file is missing or no ordinary file, empty, longer than 64 MiB, of another format, damaged, or
    above 50 megapixels (25 for WebP).
    """
    if not isinstance(data, bytes):
        data = read_file(data, name=name)
    if not data:
        raise PhotoError(
            f"{name} is empty (0 bytes). Copy the photograph again, or remove the file."
        )
    if len(data) > MAX_BYTES:
        raise _too_long(name)
    try:
        # Not to stderr: Pillow warns of large pictures, which are refused below, and of damaged
        # EXIF, which does no harm.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = _to_srgb(_decode(data, name))
    except PhotoError:
        raise
    except UnidentifiedImageError:
        raise PhotoError(
            f"{name} is not a picture that can be read: its content is none of "
            f"{', '.join(FORMATS)}. "
            "Export the photograph as JPEG or PNG, or remove the file."
        ) from None
    except Image.DecompressionBombError:
        # Pillow's own cap, before ours can be asked
        raise _too_large(name, "more than 178 megapixels", MAX_PIXELS) from None
    except Exception as error:
        # Pillow's readers raise whatever their parsing runs into: OSError, SyntaxError,
        # struct.error, ...
        raise PhotoError(
            f"{name} is damaged or cut off ({error}). Copy the photograph again from its source."
        ) from None
    picture.info = {}  # where Pillow keeps what it would write back: comment, ICC profile, EXIF
    return picture


def read_file(path: UPath | Path, *, name: str) -> bytes:
    """Read a photograph's bytes, never more than MAX_BYTES of them, and never from a pipe or a
    device, which may have no end.

    Raises PhotoError, with `name` in its message, when the file is missing, no ordinary file,
    unreadable or longer than 64 MiB.
    """
    try:
        if not path.is_file():
            raise PhotoError(f"{name} {_what_it_is(path)}. Give the path of a photograph.")
        with path.open("rb") as file:
            data: bytes = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise PhotoError(
            f"{name} cannot be read ({error}). Check that the file is there and readable."
        ) from None
    if len(data) > MAX_BYTES:
        raise _too_long(name)
    return data


def encode_png(image: Image.Image, compression: int = 6) -> bytes:
    """Return the PNG bytes of a picture, any mode that PNG has, without metadata. The same pixels
    always give the same bytes.

    compression: zlib's level, 0 to 9.
    """
    buffer = io.BytesIO()
    _bare(image).save(buffer, "PNG", compress_level=compression)
    return buffer.getvalue()


def encode_jpeg(image: Image.Image, quality: int = 95) -> bytes:
    """Return the JPEG bytes of an RGB or grey picture, full chroma (4:4:4), without metadata. The
    same pixels always give the same bytes.
    """
    buffer = io.BytesIO()
    _bare(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def resize_to_fit(image: Image.Image, longest: int) -> Image.Image:
    """Return a copy whose longer side is at most `longest` pixels, aspect kept (Lanczos). Smaller
    pictures keep their size.
    """
    scale = longest / max(image.size)
    if scale >= 1.0:
        return image.copy()
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def orientation_of(data: bytes) -> int:
    """Return the EXIF orientation, 1 to 8, of a photograph that `open_image` could read; 1 is
    upright, and 1 without EXIF.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return _orientation(image)


def preview_markdown(image: Image.Image, width: int = 320) -> str:
    """Return markdown that shows the picture by itself: a small JPEG, at most `width` pixels wide,
    inside a data URL of PREVIEW_CHARACTERS at most; a long sheet gets smaller.
    """
    if image.width > width:
        image = image.resize(
            (width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS
        )
    image = image.convert("RGB")
    encoded = base64.b64encode(encode_jpeg(image, quality=85)).decode("ascii")
    while len(encoded) > PREVIEW_CHARACTERS:
        share = min(0.9, (PREVIEW_CHARACTERS / len(encoded)) ** 0.5)
        size = (max(1, int(image.width * share)), max(1, int(image.height * share)))
        image = image.resize(size, Image.Resampling.LANCZOS)
        encoded = base64.b64encode(encode_jpeg(image, quality=85)).decode("ascii")
    return f"![preview](data:image/jpeg;base64,{encoded})"


def _what_it_is(path: UPath | Path) -> str:
    if path.is_dir():
        return "is a folder"
    if path.exists():
        return "is no ordinary file, but a pipe, a socket or a device"
    return (
        "cannot be read: it is a link to a file that is not there"
        if path.is_symlink()
        else "cannot be read: it is not there"
    )


def _too_long(name: str) -> PhotoError:
    return PhotoError(
        f"{name} is too long: more than {MAX_BYTES // 2**20} MiB. Save a smaller "
        "copy of the photograph."
    )


def _too_large(name: str, size: str, limit: int) -> PhotoError:
    return PhotoError(
        f"{name} is too large: {size}, at most {limit // 1_000_000} megapixels. Save a smaller "
        "copy of the photograph."
    )


def _decode(data: bytes, name: str) -> Image.Image:
    """Return the picture upright, in the file's own mode. A new picture: Pillow's reader, which
    holds on to its buffers, is let go.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        limit = MAX_PIXELS_WEBP if image.format == "WEBP" else MAX_PIXELS
        if width * height > limit:
            raise _too_large(name, f"{width}x{height} pixels", limit)
        image.load()
        orientation = _orientation(image)
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image.copy()


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 when there is none. Damaged EXIF counts as none: every viewer
    shows such a picture as stored.
    """
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow's EXIF reader trusts offsets and types as they stand in the file
        return 1


def _to_srgb(image: Image.Image) -> Image.Image:
    """Return RGB pixels in sRGB, transparency laid onto BACKDROP. At 50 megapixels a copy has 200
    MB: what is no longer needed goes first.
    """
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I"):
        image = _to_8_bit(image)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    if image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    image = _apply_profile(image, profile) if profile else image
    if image.mode != "RGB":
        image = image.convert("RGB")
    if alpha is not None:
        image.paste(BACKDROP, mask=ImageChops.invert(alpha))
    return image


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Convert 16-bit grey, 0-65535, as 8-bit grey; Pillow's own conversion would clip instead of
    scale. In strips, to save memory.
    """
    strips = [
        np.asarray(image.crop((0, y, image.width, min(y + 256, image.height))))
        for y in range(0, image.height, 256)
    ]
    return Image.fromarray(
        np.concatenate(
            [
                (strip.astype(np.float32) / 257.0).round().clip(0, 255).astype(np.uint8)
                for strip in strips
            ]
        )
    )


def _apply_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """Return the colours of an RGB, grey or CMYK picture, taken from its profile to sRGB. Viewers
    ignore a useless profile: so do we.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image  # nearly every photograph: skip a conversion that would only add rounding
        converted = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        return image
    return image if converted is None else converted


def _bare(image: Image.Image) -> Image.Image:
    """Return a copy without `info`, where Pillow keeps what it would write back (comment, ICC
    profile, EXIF).
    """
    image = image.copy()
    image.info = {}
    return image
