"""The only place that opens, saves and composes pictures.

The threat: photographs come from anywhere. A small file may claim a billion pixels, may be cut off, or may be no picture at all;
a phone stores its pictures lying down, in a colour space of its own, with the place where they were taken.
The mechanism: `open_image` caps the bytes before parsing and the pixels before decoding, knows three formats only, decodes
once, and gives upright sRGB pixels without any metadata.
Its limits: decoders are native code (libjpeg, libpng, libwebp through Pillow); a flaw in those is not caught here.
"""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
from upath import UPath

from avatar_pipeline.errors import PhotoError

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_BYTES = 64 * 1024 * 1024  # a 50 MP JPEG of best quality has about 30 MB
MAX_PIXELS = 50_000_000  # imgproxy's cap: about 150 MB decoded, and more than any phone camera's default

# What shows through transparent pixels: the grey studio background that the prompts ask for. White would pull up every
# exposure measure, and halos around cut-out hair.
BACKDROP = (128, 128, 128)

# EXIF orientation -> the transposition that turns the picture upright (EXIF 2.3, tag 0x0112). 1 is upright already.
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
    """Decode a photograph: JPEG, PNG or WebP in, an upright RGB picture (8 bit, sRGB, no metadata) out.

    data: the file's bytes, or its path. name: what error messages call it.
    Transparency is laid onto mid grey, 16-bit grey is scaled to 8 bit, CMYK and palettes are converted, an embedded colour
    profile is applied; of an animation, the first frame is taken.
    Raises PhotoError when the file is missing, empty, longer than 64 MiB, of another format, damaged, or above 50 megapixels.
    """
    if not isinstance(data, bytes):
        data = _read(data, name)
    if not data:
        raise PhotoError(f"{name} is empty (0 bytes). Copy the photograph again, or remove the file.")
    if len(data) > MAX_BYTES:
        raise PhotoError(f"{name} is too long: {len(data)} bytes, at most {MAX_BYTES}. Save a smaller copy of the photograph.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise _too_large(name, f"{width}x{height} pixels")
            image.load()
            picture = _upright(image, _orientation(image))
    except UnidentifiedImageError:
        raise PhotoError(
            f"{name} is not a picture that can be read: its content is none of {', '.join(FORMATS)}. "
            "Export the photograph as JPEG or PNG, or remove the file."
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(name, "more than 89 megapixels") from None  # Pillow's own cap, reached before ours can be asked
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise PhotoError(f"{name} is damaged or cut off ({error}). Copy the photograph again from its source.") from None
    return _to_srgb(picture)


def encode_png(image: Image.Image) -> bytes:
    """PNG bytes of a picture, any mode that PNG has, without metadata. The same pixels always give the same bytes."""
    buffer = io.BytesIO()
    _bare(image).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def encode_jpeg(image: Image.Image, quality: int = 95) -> bytes:
    """JPEG bytes of an RGB or grey picture, full chroma (4:4:4), without metadata. The same pixels always give the same bytes."""
    buffer = io.BytesIO()
    _bare(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def resize_to_fit(image: Image.Image, longest: int) -> Image.Image:
    """A copy whose longer side is at most `longest` pixels, aspect kept (Lanczos). Smaller pictures keep their size."""
    scale = longest / max(image.size)
    if scale >= 1.0:
        return image.copy()
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def contact_sheet(tiles: Sequence[tuple[Image.Image, str]], columns: int, tile: tuple[int, int]) -> Image.Image:
    """A labelled grid, row by row: pictures fitted into cells of `tile` = (width, height) pixels, each with its label below.

    A label may have several lines; each is cut to the cell's width. Raises ValueError without tiles or columns.
    """
    if not tiles or columns < 1:
        raise ValueError("A contact sheet needs at least one picture and one column.")
    gap, line = 8, 16
    font = ImageFont.load_default(12)
    width, height = tile
    columns = min(columns, len(tiles))
    labels = [label.splitlines() for _, label in tiles]
    cell = (width + gap, height + gap + line * max(map(len, labels)))
    sheet = Image.new("RGB", (columns * cell[0] + gap, -(-len(tiles) // columns) * cell[1] + gap), (250, 250, 250))
    draw = ImageDraw.Draw(sheet)
    for index, (image, _) in enumerate(tiles):
        x, y = gap + index % columns * cell[0], gap + index // columns * cell[1]
        fitted = ImageOps.contain(image.convert("RGB"), tile, Image.Resampling.LANCZOS)
        sheet.paste(fitted, (x + (width - fitted.width) // 2, y + (height - fitted.height) // 2))
        for row, text in enumerate(labels[index]):
            draw.text((x, y + height + row * line), _shorten(text, font, width), fill=(30, 30, 30), font=font)
    return sheet


def orientation_of(data: bytes) -> int:
    """The EXIF orientation, 1 to 8, of a photograph that `open_image` could read; 1 is upright, and what is said without EXIF."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return _orientation(image)


def preview_markdown(image: Image.Image, width: int = 320) -> str:
    """Markdown that shows the picture by itself: a small JPEG, at most `width` pixels wide, inside a data URL."""
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)
    encoded = base64.b64encode(encode_jpeg(image.convert("RGB"), quality=85)).decode("ascii")
    return f"![preview](data:image/jpeg;base64,{encoded})"


def _read(path: UPath | Path, name: str) -> bytes:
    """The file's bytes; its size is asked first, so that a huge file is never loaded."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise PhotoError(f"{name} is too long: {size} bytes, at most {MAX_BYTES}. Save a smaller copy of the photograph.")
        return path.read_bytes()
    except OSError as error:
        raise PhotoError(f"{name} cannot be read ({error}). Check that the file is there and readable.") from None


def _too_large(name: str, size: str) -> PhotoError:
    limit = MAX_PIXELS // 1_000_000
    return PhotoError(f"{name} is too large: {size}, at most {limit} megapixels. Save a smaller copy of the photograph.")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 when there is none. Damaged EXIF counts as none: every viewer shows such a picture as stored."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image.copy()


def _to_srgb(image: Image.Image) -> Image.Image:
    """RGB pixels in sRGB, transparency laid onto BACKDROP, nothing in `info`."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I"):  # 16-bit grey, 0-65535; Pillow's own conversion would clip instead of scale
        image = Image.fromarray((np.asarray(image).astype(np.float32) / 257.0).round().clip(0, 255).astype(np.uint8))
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    if image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    image = _apply_profile(image, profile) if profile else image
    image = _bare(image.convert("RGB"))
    if alpha is not None:
        image = Image.composite(image, Image.new("RGB", image.size, BACKDROP), alpha)
    return image


def _apply_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """The colours of an RGB, grey or CMYK picture, taken from its profile to sRGB. Viewers ignore a useless profile: so do we."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image  # nearly every photograph: skip a conversion that would only add rounding
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image
    return image if converted is None else converted


def _bare(image: Image.Image) -> Image.Image:
    """A copy without `info`, where Pillow keeps what it would write back (comment, ICC profile, EXIF)."""
    image = image.copy()
    image.info = {}
    return image


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, cut with an ellipsis to `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
