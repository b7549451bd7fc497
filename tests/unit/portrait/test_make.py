"""A photograph made into a portrait: what passes, what it says of itself, what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from avatar_pipeline.content_credentials.sign import sign
from avatar_pipeline.content_credentials.verify import verify
from avatar_pipeline.content_credentials.xmp import source_type, with_source_type
from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.core.openpeople import asset_path, emotion_tiles
from avatar_pipeline.faces.animators.profiles import ANIMATORS
from avatar_pipeline.imaging.images import encode_jpeg
from avatar_pipeline.portrait.make import make_portrait

CLOSED_EYES = Path(__file__).parents[1] / "faces" / "conformance" / "closed_eyes.jpg"
LIVEPORTRAIT = ANIMATORS["liveportrait"]


def photograph(person: str = "P001", kind: str = "studio_portrait") -> Image.Image:
    return Image.open(asset_path(person, kind)).convert("RGB")


def made(analyzer, image: Image.Image, animator=LIVEPORTRAIT, **more):
    return make_portrait(encode_jpeg(image), "photo.jpg", analyzer, animator, **more)


def test_a_studio_portrait_becomes_one_without_an_error(analyzer):
    portrait = made(analyzer, photograph())
    assert Image.open(io.BytesIO(portrait.data)).size == (1024, 1024)
    assert not [check.name for check in portrait.checks if check.verdict == "error"]
    crop = next(check for check in portrait.checks if check.name == "crop_inside")
    assert crop.verdict == "pass"


def test_a_tilted_head_is_turned_upright(analyzer):
    portrait = made(analyzer, photograph().rotate(20, expand=True, fillcolor=(128, 128, 128)))
    assert portrait.framed.turned == pytest.approx(20, abs=4)
    assert next(c for c in portrait.checks if c.name == "roll").verdict == "pass"


def test_png_is_written_where_it_is_asked_for(analyzer):
    assert made(analyzer, photograph(), png=True).data[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    "name", [name for name, animator in ANIMATORS.items() if animator.frame == "face"]
)
def test_each_animators_cut_lies_inside_of_its_portrait(analyzer, name):
    portrait = made(analyzer, photograph(), ANIMATORS[name])
    height, width = portrait.pixels.shape[:2]
    cut = ANIMATORS[name].cut(width, height, portrait.faces[0])
    assert cut.outside(width, height) <= 0.005
    assert cut.squeezed() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    "name", [name for name, animator in ANIMATORS.items() if animator.frame == "whole"]
)
def test_an_animator_of_the_whole_picture_gets_the_whole_picture(analyzer, name):
    image = photograph(kind="amateur_selfie")
    portrait = made(analyzer, image, ANIMATORS[name])
    height, width = portrait.pixels.shape[:2]
    assert width / height == pytest.approx(image.width / image.height, rel=0.01)
    assert portrait.framed.invented == 0


def test_the_same_photograph_gives_the_same_bytes(analyzer):
    assert made(analyzer, photograph()).data == made(analyzer, photograph()).data


def test_the_json_says_what_was_done_and_names_nobody(analyzer):
    facts = made(analyzer, photograph()).facts()
    assert facts["animator"] == "liveportrait"
    assert (facts["width"], facts["height"]) == (1024, 1024)
    assert "photo.jpg" not in str(facts)
    assert set(facts["from_neutral"]) == {"mouth", "eyes", "brows"}


def test_a_photograph_that_was_only_framed_stays_a_photograph(analyzer):
    wide = cv2.copyMakeBorder(np.asarray(photograph()), 500, 500, 500, 500, cv2.BORDER_REPLICATE)
    portrait = made(analyzer, Image.fromarray(wide))
    assert source_type(portrait.data) == "digitalCapture"
    assert portrait.origin.edits == ("c2pa.cropped", "c2pa.resized")


def test_a_continued_border_is_said_in_the_source_type(analyzer):
    portrait = made(analyzer, photograph())
    assert portrait.framed.invented > 0
    assert source_type(portrait.data) == "algorithmicallyEnhanced"


def test_a_picture_that_says_a_model_made_it_goes_on_saying_so(analyzer):
    data = with_source_type(encode_jpeg(photograph()), "trainedAlgorithmicMedia")
    portrait = make_portrait(data, "drawn.jpg", analyzer, LIVEPORTRAIT)
    assert source_type(portrait.data) == "trainedAlgorithmicMedia"


def test_its_credentials_name_the_photograph_as_what_was_opened(analyzer):
    portrait = made(analyzer, photograph())
    verdict = verify(sign(portrait.data, portrait.origin))
    assert verdict.state in ("valid", "trusted")
    assert "algorithmicallyEnhanced" in str(verdict)


def two_people() -> Image.Image:
    both = Image.new("RGB", (2048, 1024))
    for place, person in enumerate(("P001", "P002")):
        both.paste(photograph(person).resize((1024, 1024)), (1024 * place, 0))
    return both


def small_face() -> Image.Image:
    wide = Image.new("RGB", (1600, 1200), (120, 120, 120))
    head = emotion_tiles("P002")["neutral"]
    wide.paste(head.resize((100, 100), Image.Resampling.LANCZOS), (700, 500))
    return wide


def sunglasses() -> Image.Image:
    """Black glass where the eyes are."""
    image = photograph("P002")
    pen = ImageDraw.Draw(image)
    for left, right in (((720, 730), (980, 930)), ((1050, 725), (1310, 925))):
        pen.ellipse((*left, *right), fill=(12, 12, 14))
    pen.line((970, 810, 1060, 810), fill=(12, 12, 14), width=24)
    return image


REFUSED = {
    "no face": (lambda: Image.new("RGB", (800, 800), (90, 120, 150)), "no face"),
    "two people": (two_people, "second face"),
    "a face of some sixty pixels": (small_face, "come closer, or use a larger original"),
    "sunglasses": (sunglasses, "eye"),
    "eyes closed": (lambda: Image.open(CLOSED_EYES).convert("RGB"), "eye"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_framing_mends_is_refused_in_one_sentence(analyzer, kind):
    make, words = REFUSED[kind]
    with pytest.raises(PhotoError) as error:
        made(analyzer, make())
    assert words in str(error.value)
    assert str(error.value).startswith("photo.jpg: ")
    assert "\n" not in str(error.value)


def test_an_open_mouth_is_refused_for_liveportrait_and_a_warning_for_a_whole_frame(analyzer):
    shocked = emotion_tiles("P006")["shocked"]
    with pytest.raises(PhotoError, match="mouth is open"):
        made(analyzer, shocked)
    portrait = made(analyzer, shocked, ANIMATORS["infinitetalk"])
    mouth = next(check for check in portrait.checks if check.name == "mouth_closed")
    assert mouth.verdict == "warn"


def test_a_photograph_of_thirty_megapixels_is_taken(analyzer):
    image = photograph().resize((5500, 5500), Image.Resampling.BICUBIC)
    assert made(analyzer, image).pixels.shape == (1024, 1024, 3)


def test_a_text_file_is_refused(analyzer):
    with pytest.raises(PhotoError, match="not a picture"):
        make_portrait(b"hello " * 100, "notes.txt", analyzer, LIVEPORTRAIT)
