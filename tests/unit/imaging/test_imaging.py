"""Opening, saving and composing pictures: every kind of file that a user may hand in."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from upath import UPath

from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.imaging import decode, images, profiles
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.imaging.images import (
    encode_jpeg,
    encode_png,
    open_image,
    preview_markdown,
    resize_to_fit,
)


def picture(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    """A smooth picture, so that JPEG keeps its values."""
    x, y = np.linspace(0, 1, width)[None, :], np.linspace(0, 1, height)[:, None]
    channels = [
        x * np.ones_like(y),
        y * np.ones_like(x),
        np.full((height, width), (seed % 10) / 10),
    ]
    return Image.fromarray((np.stack(channels, axis=-1) * 255).astype(np.uint8))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max())


@pytest.mark.parametrize(("kind", "tolerance"), [("PNG", 0), ("JPEG", 12), ("WEBP", 12)])
def test_opens_the_three_formats(kind: str, tolerance: float) -> None:
    options = {} if kind == "PNG" else {"quality": 95}
    opened = open_image(saved(picture(), kind, **options), name="a")
    assert opened.mode == "RGB"
    assert opened.size == (64, 48)
    assert difference(opened, picture()) <= tolerance


def test_opens_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(picture()))
    assert difference(open_image(UPath(tmp_path / "a.png"), name="a.png"), picture()) == 0
    assert difference(open_image(tmp_path / "a.png", name="a.png"), picture()) == 0
    with pytest.raises(PhotoError, match=r"b\.png cannot be read"):
        open_image(tmp_path / "b.png", name="b.png")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "x.jpg is empty"),
        (b"This is a text, not a photograph.\n" * 20, "x.jpg is not a picture"),
        (b"GIF89a" + bytes(100), "x.jpg is not a picture"),
        (saved(picture(), "GIF"), "x.jpg is not a picture"),
        (saved(picture(), "TIFF"), "x.jpg is not a picture"),
        (b"\xff\xd8\xff", "x.jpg is"),
        (b"\x89PNG\r\n\x1a\n", "x.jpg is"),
    ],
)
def test_refuses_what_is_no_picture(data: bytes, message: str) -> None:
    with pytest.raises(PhotoError, match=message):
        open_image(data, name="x.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_refuses_a_truncated_file(kind: str, part: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))
    data = saved(noise, kind)
    with pytest.raises(PhotoError, match=r"cut\.jpg is"):
        open_image(data[: int(len(data) * part)], name="cut.jpg")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_random_bytes_never_raise_anything_else() -> None:
    generator = np.random.default_rng(1)
    for kind in ("JPEG", "PNG", "WEBP"):
        data = bytearray(
            saved(picture(), kind, exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00")
        )
        for _ in range(150):
            broken = bytearray(data)
            for position in generator.integers(0, len(data), 4):
                broken[position] = generator.integers(256)
            with contextlib.suppress(PhotoError):
                assert open_image(bytes(broken), name="fuzz").mode == "RGB"


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels: what a decompression bomb looks like before it is
    decoded.
    """

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [7_072, 10_000, 50_000])
def test_refuses_a_bomb_from_its_header(side: int) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(PhotoError, match=r"bomb\.png is too large.*Save a smaller copy"):
        open_image(png_header(side, side), name="bomb.png")
    assert limit == Image.MAX_IMAGE_PIXELS


def webp_header(width: int, height: int) -> bytes:
    """A lossless WebP of 8x8 pixels that claims another size."""
    data = bytearray(saved(Image.new("RGB", (8, 8)), "WEBP", lossless=True))
    # behind the chunk's length and its signature: 14 bits for each side, less one
    at = data.find(b"VP8L") + 9
    flags = int.from_bytes(data[at : at + 4], "little") >> 28
    data[at : at + 4] = (width - 1 | height - 1 << 14 | flags << 28).to_bytes(4, "little")
    return bytes(data)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_webp_has_at_most_25_megapixels_and_others_50() -> None:
    with pytest.raises(PhotoError, match="5001x5000 pixels, at most 25 megapixels"):
        open_image(webp_header(5001, 5000), name="a.webp")
    with pytest.raises(PhotoError, match="10001x5000 pixels, at most 50 megapixels"):
        open_image(png_header(10_001, 5_000), name="a.png")
    # large enough to be decoded, and without pixels
    with pytest.raises(PhotoError, match="damaged or cut off"):
        open_image(png_header(10_000, 5_000), name="a.png")


def test_refuses_a_bomb_where_warnings_are_errors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PhotoError, match="too large"):
            open_image(png_header(10_000, 10_000), name="bomb.png")


def test_caps_bytes_before_parsing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_png(picture())
    monkeypatch.setattr(images, "MAX_BYTES", len(data) - 1)
    with pytest.raises(PhotoError, match=r"a\.png is too long"):
        open_image(data, name="a.png")
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(PhotoError, match=r"a\.png is too long"):
        open_image(UPath(tmp_path / "a.png"), name="a.png")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_upright(orientation: int) -> None:
    upright = picture(64, 48)
    inverse = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    stored = upright
    if orientation in decode.UPRIGHT:
        stored = upright.transpose(inverse.get(orientation, decode.UPRIGHT[orientation]))
    exif = Image.Exif()
    exif[decode.ORIENTATION] = orientation
    opened = open_image(saved(stored, "PNG", exif=exif), name="a")
    assert opened.size == (64, 48)
    assert difference(opened, upright) == 0


def test_nothing_but_pixels_comes_out() -> None:
    exif = Image.Exif()
    exif[0x010E] = "home address"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    opened = open_image(
        saved(picture(), "JPEG", exif=exif, icc_profile=profile, comment=b"secret", dpi=(300, 300)),
        name="a",
    )
    assert opened.info == {}
    assert not dict(opened.getexif())
    opened.info["comment"] = b"secret"
    for data in (encode_jpeg(opened), encode_png(opened)):
        assert b"secret" not in data
        assert b"Exif" not in data
        assert b"home" not in data


def test_transparency_is_laid_onto_grey() -> None:
    image = picture().convert("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    image.paste((255, 0, 0, 255), (0, 0, 10, 10))
    opened = open_image(saved(image, "PNG"), name="a")
    assert opened.getpixel((5, 5)) == (255, 0, 0)
    assert opened.getpixel((40, 40)) == profiles.BACKDROP


def test_other_modes_become_rgb() -> None:
    grey = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    opened = open_image(saved(Image.fromarray(grey), "PNG"), name="16 bit")
    expected = (grey / 257.0).round().astype(np.uint8)
    assert difference(opened, Image.fromarray(expected).convert("RGB")) == 0

    palette = picture().quantize(16)
    assert (
        difference(open_image(saved(palette, "PNG"), name="palette"), palette.convert("RGB")) == 0
    )
    palette_with_alpha = open_image(
        saved(palette, "PNG", transparency=palette.getpixel((0, 0))), name="palette with alpha"
    )
    assert palette_with_alpha.getpixel((0, 0)) == profiles.BACKDROP

    assert open_image(saved(picture().convert("LA"), "PNG"), name="LA").mode == "RGB"
    assert open_image(saved(picture().convert("1"), "PNG"), name="1").mode == "RGB"

    flat = Image.new("RGB", (32, 32), (200, 120, 40))
    cmyk = open_image(saved(flat.convert("CMYK"), "JPEG", quality=95), name="cmyk")
    assert difference(cmyk, flat) <= 4


def test_applies_the_colour_profile() -> None:
    # A profile that differs visibly, made from sRGB's own: red and green primaries swapped, and its
    # description changed.
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    same = open_image(saved(picture(), "PNG", icc_profile=bytes(profile)), name="srgb")
    assert difference(same, picture()) == 0
    swapped = (
        bytes(profile).replace(b"rXYZ", b"tmpX").replace(b"gXYZ", b"rXYZ").replace(b"tmpX", b"gXYZ")
    )
    renamed = swapped.replace("sRGB".encode("utf-16-be"), "xxxx".encode("utf-16-be")).replace(
        b"sRGB", b"xxxx"
    )
    flat = Image.new("RGB", (8, 8), (255, 0, 0))
    red, green, _ = np.asarray(open_image(saved(flat, "PNG", icc_profile=renamed), name="swapped"))[
        4, 4
    ]
    assert green > 200 > red


@pytest.mark.parametrize(
    "profile",
    [b"no profile at all", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()],
)
def test_ignores_a_useless_colour_profile(profile: bytes) -> None:
    assert (
        difference(open_image(saved(picture(), "PNG", icc_profile=profile), name="a"), picture())
        == 0
    )


def test_takes_the_first_frame() -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    for kind, options in (("WEBP", {"lossless": True}), ("PNG", {})):
        data = saved(
            frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **options
        )
        assert open_image(data, name="animated").getpixel((10, 10)) == (255, 0, 0)


def test_encoding_is_deterministic() -> None:
    assert encode_png(picture()) == encode_png(picture()) != encode_png(picture(seed=3))
    assert encode_jpeg(picture()) == encode_jpeg(picture()) != encode_jpeg(picture(), quality=80)
    with Image.open(io.BytesIO(encode_jpeg(picture()))) as image:
        assert [component[1:3] for component in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


def test_resize_to_fit() -> None:
    assert resize_to_fit(picture(64, 48), 32).size == (32, 24)
    assert resize_to_fit(picture(48, 640), 64).size == (5, 64)
    small = picture(64, 48)
    assert resize_to_fit(small, 100).size == (64, 48)
    assert resize_to_fit(small, 100) is not small


def test_contact_sheet() -> None:
    tiles = [
        (picture(64 + 10 * i, 48, i), f"tile {i}\na second line that is far too long for its cell")
        for i in range(5)
    ]
    sheet = contact_sheet(tiles, columns=3, tile=(90, 60))
    assert sheet.size == (3 * 98 + 8, 2 * (60 + 8 + 32) + 8)
    assert contact_sheet(tiles[:1], columns=3, tile=(90, 60)).width == 98 + 8
    with pytest.raises(ValueError, match="at least one picture"):
        contact_sheet([], columns=3, tile=(90, 60))


def test_preview_markdown() -> None:
    text = preview_markdown(picture(800, 600))
    assert text.startswith("![preview](data:image/jpeg;base64,")
    assert text.endswith(")")
    assert len(text) < 20_000


def test_images_of_unknown_origin_are_opened_here_only() -> None:
    """Everywhere else Pillow opens what this program made, or what a package brought along."""
    package = PROJECT / "avatar_pipeline"
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"\bImage\.open\(|cv2\.(imread|imdecode)\(", path.read_text(encoding="utf-8"))
    }
    assert found == {
        "bundled_model/bodies.py",  # openpeople's pictures, as the next four
        "bundled_model/dataset.py",
        "bundled_model/evaluation/lora.py",
        "bundled_model/train_autoencoder.py",
        "core/openpeople.py",
        "cartoons/dicebear.py",  # what resvg drew in this process
        "cartoons/samples.py",  # sheets of a training, written by it
        "imaging/decode.py",
        "orchestration/assets/bundled_model_results.py",  # sheets that the materialization wrote
        "orchestration/assets/cartoons.py",
        "orchestration/assets/training_history.py",  # a plot drawn in this process, as the next
        "pipeline/assets/lora/curves.py",
    }
