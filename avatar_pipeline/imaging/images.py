"""Open images of unknown origin within limits; encode and compose images without metadata.

The threat: photographs come from anywhere. A small file may claim a billion pixels, may be cut off,
or may be no picture at all; a phone stores its pictures lying down, in a colour space of its own,
with the place where they were taken.
The mechanism: `open_image` reads ordinary files only, caps the bytes before parsing and the pixels
before decoding, knows five formats only, decodes once (imaging/decode.py), gives upright sRGB
pixels (imaging/profiles.py) without any metadata, and stays below 700 MB for the largest picture it
takes.
Its limits: decoders are native code (libjpeg, libpng, libwebp, libavif through Pillow, libheif and
libde265 through pi_heif); a flaw in those is not caught here. Nor is time bounded: a JPEG may ask
for thousands of passes.

Bytes that were not made by this program go through `open_image`. Other modules call Pillow
themselves only for files that were made here, or that come with an installed package: openpeople's
pictures (core/openpeople.py, bundled_model/), DiceBear's drawings and the training's sheets
(cartoons/dicebear.py, cartoons/samples.py), curves and contact sheets (pipeline/assets/lora/,
orchestration/assets/). tests/test_imaging.py holds the list. Pillow saves in one other place,
tasks/draw_finish.py, where WebP is encoded for the service.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, UnidentifiedImageError

from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.imaging.decode import decode, is_opaque, moves, too_large
from avatar_pipeline.imaging.kinds import ENOUGH, READ, kind_of, not_read
from avatar_pipeline.imaging.profiles import flatten

if TYPE_CHECKING:
    from upath import UPath

MAX_BYTES = 64 * 1024 * 1024  # a 50 MP JPEG of best quality has about 30 MB

# Of a preview in Dagster's log, base64: an event holds up to three of them, and some databases and
# messages end at 1 MB. The contact sheet of 60 photographs has about 250,000.
PREVIEW_CHARACTERS = 280_000


class FileFacts(NamedTuple):
    """What a file says of itself. kind: one of imaging.kinds.READ. opaque: no pixel of it is
    transparent. moves: it has more than one frame.
    """

    kind: str
    opaque: bool
    moves: bool


def open_image(data: bytes | UPath | Path, *, name: str) -> Image.Image:
    """Decode a photograph: JPEG, PNG, WebP, HEIC or AVIF in, an upright RGB picture (8 bit, sRGB,
    no metadata) out.

    data: the file's bytes, or its path. name: what error messages call it. Its content says what it
    is, not its name. It is turned as EXIF says, or the container of a HEIC or AVIF (XMP alone turns
    nothing). Transparency is laid onto mid grey, deeper colours are scaled to 8 bit, CMYK and
    palettes are converted, an embedded colour profile is applied, HDR is brought to the range of a
    screen, a gain map is ignored; of an animation or a burst, the first or primary picture is
    taken. Raises PhotoError when the file is missing or no ordinary file, empty, longer than 64
    MiB, of another format, damaged, or above 50 megapixels (25 for WebP).
    """
    if not isinstance(data, bytes):
        data = read_file(data, name=name)
    if not data:
        raise PhotoError(
            f"{name} is empty (0 bytes). Copy the photograph again, or remove the file."
        )
    if len(data) > MAX_BYTES:
        raise _too_long(name)
    with _in_our_words(data, name):
        picture = flatten(decode(data, name))
    picture.info = {}  # where Pillow keeps what it would write back: comment, ICC profile, EXIF
    return picture


def file_facts(data: bytes, *, name: str) -> FileFacts:
    """Return what a picture's bytes say of themselves. Raises PhotoError as `open_image` does for
    the same bytes, but for those whose pixels alone are damaged.
    """
    with _in_our_words(data, name):
        return FileFacts(kind_of(data[:ENOUGH]), is_opaque(data), moves(data))


@contextmanager
def _in_our_words(data: bytes, name: str) -> Iterator[None]:
    """Raise what the libraries raise as PhotoError. Their warnings do not go to stderr: Pillow
    warns of large pictures, which are refused, and of damaged EXIF, which does no harm.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PhotoError:
        raise
    except UnidentifiedImageError:
        kind = kind_of(data[:ENOUGH])
        if kind == "AVIF":
            raise PhotoError(
                f"{name} is damaged or cut off (an AVIF without a picture). Copy the photograph "
                "again from its source."
            ) from None
        raise PhotoError(
            f"{name} is not a picture that can be read: its content is none of "
            f"{', '.join(READ)}{_but(kind, name)}. "
            "Export the photograph as JPEG or PNG, or remove the file."
        ) from None
    except Image.DecompressionBombError:
        # Pillow's own cap, before ours can be asked
        raise too_large(name, "more than 178 megapixels") from None
    except Exception as error:
        # Pillow's readers raise whatever their parsing runs into: OSError, SyntaxError,
        # struct.error, ...
        words = " ".join(str(error).split())
        raise PhotoError(
            f"{name} is damaged or cut off ({words}). Copy the photograph again from its source."
        ) from None


def _but(kind: str, name: str) -> str:
    """Return what a file is instead of a photograph, where that is known."""
    reason = not_read(kind, Path(name).suffix)
    return (
        f"; it is {reason.partition(':')[0].removesuffix(', which is not read')}" if reason else ""
    )


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


def _bare(image: Image.Image) -> Image.Image:
    """Return a copy without `info`, where Pillow keeps what it would write back (comment, ICC
    profile, EXIF).
    """
    image = image.copy()
    image.info = {}
    return image
