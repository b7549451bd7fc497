"""Photographs come out as browsers and cv2.imread show them: orientation, colours, and what else is
in the file.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.imaging import decode
from avatar_pipeline.imaging.decode import UPRIGHT, orientation_of
from avatar_pipeline.imaging.images import file_facts, open_image
from avatar_pipeline.imaging.profiles import BACKDROP
from tests.support.heif_files import (
    BT709,
    BT2020,
    DISPLAY_P3,
    HLG,
    PQ,
    SRGB,
    Look,
    avif_10_bit,
    heic,
)
from tests.support.photo_files import (
    exif,
    long_text,
    longer,
    mpo,
    picture,
    profile,
    saved,
    with_chunk,
    xmp,
)

PLAIN = picture()
SEEN_AS_PLAIN = 6  # levels of 255: what the codecs lose of a smooth picture


def apart(data: bytes, expected: Image.Image) -> int:
    """By how many levels a file's picture differs from this one at most."""
    found = open_image(data, name="a")
    assert found.size == expected.size
    differences = np.asarray(found).astype(int) - np.asarray(expected.convert("RGB"))
    return int(np.abs(differences).max())


def lying(orientation: int) -> Image.Image:
    """The picture as it is stored where this orientation turns it upright."""
    inverse = {6: UPRIGHT[8], 8: UPRIGHT[6]}
    return PLAIN.transpose(inverse.get(orientation, UPRIGHT[orientation]))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG", "AVIF"])
def test_xmp_alone_turns_nothing(kind: str) -> None:
    if kind == "PNG":
        text = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(6)
        data = with_chunk(saved(PLAIN, kind), b"iTXt", text)
    else:
        data = saved(PLAIN, kind, xmp=xmp(6))
    assert Image.open(io.BytesIO(data)).getexif().get(0x0112) == 6  # Pillow falls back to it
    assert open_image(data, name="a").size == PLAIN.size
    assert orientation_of(data) == 1
    if kind != "AVIF":
        shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert shown is not None
        assert shown.shape[:2] == (PLAIN.height, PLAIN.width)


def test_exif_counts_where_xmp_says_otherwise() -> None:
    assert apart(saved(lying(6), "JPEG", quality=95, exif=exif(6), xmp=xmp(3)), PLAIN) < 12


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_a_heic_is_turned_by_its_container_and_not_once_more_by_exif(orientation: int) -> None:
    data = heic(lying(orientation), Look(orientation=orientation, exif=exif(orientation)))
    assert apart(data, PLAIN) <= SEEN_AS_PLAIN


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_an_avif_is_turned_by_its_container(orientation: int) -> None:
    assert apart(saved(lying(orientation), "AVIF", quality=95, exif=exif(orientation)), PLAIN) < 12


def test_a_profile_is_judged_by_its_curves_and_not_by_its_name() -> None:
    """Linear light under sRGB's name is converted; sRGB's curve under another name is not."""
    linear = Image.fromarray((((np.asarray(PLAIN) / 255) ** 2.2) * 255).round().astype(np.uint8))
    data = saved(linear, "PNG", icc_profile=profile(b"RGB ", 1.0, "linear sRGB"))
    shown = np.asarray(open_image(data, name="a")).astype(int)
    assert np.abs(shown - np.asarray(PLAIN))[np.asarray(linear) > 20].max() < 8
    assert np.asarray(linear).mean() + 30 < shown.mean()
    same = saved(PLAIN, "PNG", icc_profile=profile(b"RGB ", None, "Camera RGB"))
    assert apart(same, PLAIN) == 0


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_grey_profile_counts_beside_alpha(kind: str) -> None:
    grey = PLAIN.convert("L")
    icc = profile(b"GRAY", 1.0, "grey, linear")
    plain = open_image(saved(grey, "PNG", icc_profile=icc), name="a")
    assert np.asarray(plain).mean() > np.asarray(grey).mean() + 30
    both = Image.merge("LA", (grey, Image.new("L", grey.size, 255)))
    both.putpixel((0, 0), (200, 0))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    found = open_image(saved(both, kind, icc_profile=icc, **options), name="a")
    assert found.getpixel((0, 0)) == BACKDROP
    assert np.array_equal(np.asarray(found)[1:], np.asarray(plain)[1:])


def test_a_png_with_a_long_text_or_profile_is_read() -> None:
    """Longer than Pillow takes; the text may even be a bomb, for it is not unpacked."""
    png = saved(PLAIN, "PNG")
    for text in (long_text(), long_text(200_000_000)):
        data = with_chunk(png, b"zTXt", text)
        assert apart(data, PLAIN) == 0
        assert file_facts(data, name="a").kind == "PNG"
        assert orientation_of(data) == 1
    linear = profile(b"RGB ", 1.0, "linear")
    short, long = (
        open_image(saved(PLAIN, "PNG", icc_profile=icc), name="a")
        for icc in (linear, longer(linear, 1_500_000))
    )
    assert np.array_equal(np.asarray(short), np.asarray(long))
    turned = with_chunk(saved(lying(6), "PNG", exif=exif(6)), b"zTXt", long_text())
    assert apart(turned, PLAIN) == 0


def test_the_caps_hold_for_a_png_with_a_long_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_PIXELS", 3_000)
    with pytest.raises(PhotoError, match="too large: 64x48"):
        open_image(with_chunk(saved(PLAIN, "PNG"), b"zTXt", long_text()), name="a")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("8 bit", heic(PLAIN)),
        ("10 bit", heic(PLAIN, Look(depth=10, brand=b"heix"))),
        ("grey", heic(PLAIN.convert("L"))),
        ("in tiles", heic(PLAIN, Look(tile=32))),
        ("a burst", heic(PLAIN, Look(burst=True))),
        ("another brand", heic(PLAIN, Look(brand=b"mif1"))),
        ("AVIF", saved(PLAIN, "AVIF", quality=95)),
        ("AVIF, 10 bit", avif_10_bit(PLAIN)),
    ],
)
def test_heic_and_avif_are_read(name: str, data: bytes) -> None:
    expected = PLAIN.convert("L") if name == "grey" else PLAIN
    assert apart(data, expected) <= SEEN_AS_PLAIN, name


def test_a_heics_alpha_is_laid_onto_grey_and_its_profile_is_applied() -> None:
    cut = PLAIN.convert("RGBA")
    cut.paste((0, 0, 0, 0), (0, 0, 32, 32))
    found = open_image(heic(cut), name="a")
    assert found.getpixel((8, 8)) == BACKDROP
    assert file_facts(heic(cut), name="a").opaque is False
    icc = profile(b"RGB ", 1.0, "linear")
    shown = open_image(heic(PLAIN, Look(icc=icc)), name="a")
    expected = open_image(saved(PLAIN, "PNG", icc_profile=icc), name="a")
    assert abs(np.asarray(shown).mean() - np.asarray(expected).mean()) < 3


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_a_cameras_hdr_is_brought_to_a_screens_range(transfer: int) -> None:
    """Middle grey of 18 % comes out as sRGB's 118, and white of 203 nits stays below 255."""
    levels = {PQ: (420, 594), HLG: (446, 769)}[transfer]  # of 1023: 36.5 and 203 nits
    values = np.full((64, 64, 3), levels[0], np.uint16)
    values[:, 32:] = levels[1]
    data = heic(values, Look(depth=10, brand=b"heix", code_points=(BT2020, transfer)))
    pixels = np.asarray(open_image(data, name="a")).astype(int)
    assert abs(pixels[32, 8] - 118).max() < 12
    assert 215 < pixels[32, 56].min() <= pixels[32, 56].max() < 256


def test_a_wide_gamut_without_a_profile_is_converted() -> None:
    """Display P3 named by code points, as some phones do: its reds are stronger than sRGB's."""
    flat = Image.new("RGB", (64, 48), (200, 60, 60))
    plain, wide = (
        open_image(heic(flat, Look(code_points=(primaries, SRGB))), name="a").getpixel((9, 9))
        for primaries in (BT709, DISPLAY_P3)
    )
    assert isinstance(plain, tuple) and isinstance(wide, tuple)
    assert wide[0] > plain[0] + 5 and wide[1] < plain[1] - 5


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_a_heic_or_avif_that_is_cut_off_is_refused(kind: str, part: float) -> None:
    data = heic(PLAIN) if kind == "HEIC" else saved(PLAIN, "AVIF")
    with pytest.raises(PhotoError, match=r"cut\.heic is damaged or cut off"):
        open_image(data[: int(len(data) * part)], name="cut.heic")


def test_a_heic_above_the_caps_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decode, "MAX_PIXELS", 3_000)
    for data in (heic(PLAIN), saved(PLAIN, "AVIF")):
        with pytest.raises(PhotoError, match="too large: 64x48 pixels"):
            open_image(data, name="a")


def test_what_is_no_photograph_is_named() -> None:
    jxl = b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100)
    with pytest.raises(PhotoError, match=r"none of JPEG, .*AVIF; it is a JPEG XL picture"):
        open_image(jxl, name="phone.jxl")


CUT = PLAIN.convert("RGBA")
CUT.putalpha(128)
GREY_16 = Image.fromarray(np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16))
FRAMES = {"save_all": True, "append_images": [PLAIN.rotate(90)]}
FILES = {
    "jpg": saved(PLAIN, "JPEG"),
    "a phone's mpo": mpo(PLAIN),
    "grey jpg": saved(PLAIN.convert("L"), "JPEG"),
    "cmyk jpg": saved(PLAIN.convert("CMYK"), "JPEG"),
    "png": saved(PLAIN, "PNG"),
    "grey png": saved(PLAIN.convert("L"), "PNG"),
    "16 bit png": saved(GREY_16, "PNG"),
    "palette png": saved(PLAIN.quantize(16), "PNG"),
    "black and white png": saved(PLAIN.convert("1"), "PNG"),
    "png with alpha": saved(CUT, "PNG"),
    "grey png with alpha": saved(CUT.convert("LA"), "PNG"),
    "png with a long text": with_chunk(saved(PLAIN, "PNG"), b"zTXt", long_text()),
    "webp": saved(PLAIN, "WEBP"),
    "webp with alpha": saved(CUT, "WEBP", lossless=True),
}


@pytest.mark.parametrize("name", FILES)
def test_decodable_passes_what_cv2_reads(name: str) -> None:
    data = FILES[name]
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
    decodable, alpha = assess(np.asarray(open_image(data, name=name)), [], data=data)[:2]
    assert (decodable.verdict, decodable.hint) == ("pass", "")
    assert alpha.verdict == ("warn" if "with alpha" in name else "pass")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("HEIC", heic(PLAIN)),
        ("AVIF", saved(PLAIN, "AVIF")),
        ("animated WebP", saved(PLAIN, "WEBP", **FRAMES)),
    ],
)
def test_decodable_says_what_liveportrait_cannot_read_and_what_to_do(
    kind: str, data: bytes
) -> None:
    """cv2 reads no HEIC; that of LivePortrait's requirements (4.10) neither of the others."""
    if kind == "HEIC":
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is None
    decodable = assess(np.asarray(open_image(data, name="a")), [], data=data)[0]
    assert decodable.verdict == "error"
    assert f"does not read {kind}: give it the portrait that the pipeline exports" in decodable.hint
