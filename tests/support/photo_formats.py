"""One portrait in every form in which photographs arrive, each meant to look the same: format,
depth, colours, profile, alpha, orientation. Used by a test in its small form and by
benchmarks/photo_formats.py in full.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from avatar_pipeline.core.openpeople import asset_path
from avatar_pipeline.imaging.decode import UPRIGHT
from tests.support.heif_files import Look, avif_10_bit, heic
from tests.support.photo_files import exif, long_text, longer, mpo, profile, saved, with_chunk

GAMMA = 1.8  # of the profile that the pixels are stored in, where there is one
RGB_ICC, GREY_ICC = profile(b"RGB ", GAMMA, "gamma 1.8"), profile(b"GRAY", GAMMA, "grey gamma 1.8")
ORIENTATIONS = range(1, 9)


@dataclass(frozen=True)
class Form:
    """A file, and the plain JPEG of the same picture that it is compared with. kind: its format.
    reasons: the checks whose verdict is another because of the form, and is meant to be.
    """

    name: str
    kind: str
    data: bytes
    plain: bytes
    reasons: tuple[str, ...] = ()


def portrait(side: int) -> Image.Image:
    """Openpeople's P002, whose portrait passes every check."""
    picture = Image.open(asset_path("P002", "studio_portrait")).convert("RGB")
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def forms(side: int = 1024, orientations: range = ORIENTATIONS) -> Iterator[Form]:
    """The forms, of `side` pixels; in a small run with fewer orientations."""
    colour = portrait(side)
    grey = colour.convert("L")
    palette = colour.quantize(256, dither=Image.Dither.NONE)
    plain, plain_grey, plain_palette = (
        saved(picture.convert("RGB"), "JPEG", quality=97, subsampling=0)
        for picture in (colour, grey, palette)
    )
    for turned in orientations:
        tag = {"exif": exif(turned)}
        lying, lying_grey = _lying(colour, turned), _lying(grey, turned)
        seen, seen_grey = _encoded(lying), _encoded(lying_grey)
        lossy = {"quality": 97, **tag}
        for kind in ("JPEG", "PNG", "WEBP", "AVIF"):
            reasons = ("decodable",) if kind == "AVIF" else ()
            options = tag if kind == "PNG" else lossy
            yield Form(f"RGB, {turned}", kind, saved(lying, kind, **options), plain, reasons)
            data = saved(seen, kind, icc_profile=RGB_ICC, **options)
            yield Form(f"RGB, profile, {turned}", kind, data, plain, reasons)
            if kind != "JPEG":
                data = saved(_opaque(lying), kind, **options)
                yield Form(f"RGBA, {turned}", kind, data, plain, reasons)
        for kind in ("JPEG", "PNG"):
            options = tag if kind == "PNG" else lossy
            yield Form(f"grey, {turned}", kind, saved(lying_grey, kind, **options), plain_grey)
            data = saved(seen_grey, kind, icc_profile=GREY_ICC, **options)
            yield Form(f"grey, profile, {turned}", kind, data, plain_grey)
        data = saved(lying.convert("CMYK"), "JPEG", **lossy)
        yield Form(f"CMYK, {turned}", "JPEG", data, plain)
        yield Form(f"MPO, {turned}", "JPEG", mpo(lying, **lossy), plain)
        for name, picture, look in (
            ("RGB", lying, Look(orientation=turned)),
            ("RGB, 10 bit", lying, Look(orientation=turned, depth=10, brand=b"heix")),
            ("RGB, profile", seen, Look(orientation=turned, icc=RGB_ICC)),
        ):
            yield Form(f"{name}, {turned}", "HEIC", heic(picture, look), plain, ("decodable",))
        data = heic(_opaque(lying), Look(orientation=turned))
        yield Form(f"RGBA, {turned}", "HEIC", data, plain, ("decodable",))
        data = saved(_lying(palette, turned), "PNG", **tag)
        yield Form(f"palette, {turned}", "PNG", data, plain_palette)
        data = saved(_opaque(lying_grey), "PNG", **tag)
        yield Form(f"grey, alpha, {turned}", "PNG", data, plain_grey)
        deep = with_chunk(_png_16(np.asarray(lying)), b"eXIf", exif(turned)[6:])
        yield Form(f"RGB, 16 bit, {turned}", "PNG", deep, plain)
        data = heic(lying_grey, Look(orientation=turned))
        yield Form(f"grey, {turned}", "HEIC", data, plain_grey, ("decodable",))
    for name, data, same in (
        ("grey, 16 bit", _png_16(np.asarray(grey)), plain_grey),
        (
            "grey, alpha, profile",
            saved(_opaque(_encoded(grey)), "PNG", icc_profile=GREY_ICC),
            plain_grey,
        ),
        ("text above 1 MB", with_chunk(saved(colour, "PNG"), b"zTXt", long_text()), plain),
        (
            "profile above 1 MB",
            saved(_encoded(colour), "PNG", icc_profile=longer(RGB_ICC, 1_500_000)),
            plain,
        ),
    ):
        yield Form(name, "PNG", data, same)
    transparent = _opaque(colour)
    transparent.paste((0, 0, 0, 0), (0, 0, 16, 16))
    spot = colour.copy()
    spot.paste((128, 128, 128), (0, 0, 16, 16))
    plain_spot = saved(spot, "JPEG", quality=97, subsampling=0)
    yield Form("transparent", "PNG", saved(transparent, "PNG"), plain_spot, ("alpha",))
    data = heic(transparent)
    yield Form("transparent", "HEIC", data, plain_spot, ("decodable", "alpha"))
    yield Form("RGB, tiles", "HEIC", heic(colour, Look(tile=256)), plain, ("decodable",))
    yield Form("RGB, burst", "HEIC", heic(colour, Look(burst=True)), plain, ("decodable",))
    yield Form("RGB, 10 bit", "AVIF", avif_10_bit(colour), plain, ("decodable",))


def _lying(picture: Image.Image, orientation: int) -> Image.Image:
    """The picture as it is stored where this orientation turns it upright."""
    inverse = {6: UPRIGHT[8], 8: UPRIGHT[6]}
    if orientation == 1:
        return picture
    return picture.transpose(inverse.get(orientation, UPRIGHT[orientation]))


def _opaque(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGBA" if picture.mode == "RGB" else "LA")
    picture.putalpha(255)
    return picture


def _encoded(picture: Image.Image) -> Image.Image:
    """The pixels as the profile of GAMMA stores them; its primaries are sRGB's."""
    code = np.linspace(0, 1, 256)
    light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    table = [round(value) for value in light ** (1 / GAMMA) * 255]
    return picture.point(table * len(picture.getbands()))


def _png_16(pixels: np.ndarray) -> bytes:
    """Pillow writes no 16-bit colours; cv2 does."""
    wide = pixels.astype(np.uint16) * 257
    ordered = wide[..., ::-1] if wide.ndim == 3 else wide
    done, data = cv2.imencode(".png", np.ascontiguousarray(ordered))
    assert done
    return io.BytesIO(data.tobytes()).getvalue()
