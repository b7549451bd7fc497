"""Readiness checks on openpeople's pictures, and on pictures made worse in one known way."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Iterable

import numpy as np
import pytest
from PIL import Image, ImageFilter

from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.core.openpeople import PEOPLE
from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.check_records import from_record, to_record
from avatar_pipeline.faces.landmark_measurements import eye_openness
from avatar_pipeline.faces.readiness import assess, reload_check, worst
from avatar_pipeline.faces.rules import RULES
from avatar_pipeline.imaging.images import encode_jpeg, encode_png
from benchmarks import degradations


def by_name(image: np.ndarray, faces: list[Face], **more) -> dict[str, Check]:
    return {check.name: check for check in assess(image, faces, **more)}


def test_every_rule_is_reported_once_with_source_and_hint(look):
    checks = assess(*look("P001", "studio_portrait"))
    names = [check.name for check in checks]
    assert len(names) == len(set(names))
    assert set(names) == {*RULES, "identity"} - {"reload"}
    for check in checks:
        assert check.source
        assert bool(check.hint) == (check.verdict != "pass"), check.name
        assert (check.value is None) == (check.verdict == "not_assessed")


@pytest.mark.parametrize("person", PEOPLE)
def test_a_studio_portrait_has_no_error_and_at_most_a_black_border_to_warn_of(look, person):
    checks = assess(*look(person, "studio_portrait"))
    assert worst(checks) in ("pass", "warn")
    assert {check.name for check in checks if check.verdict == "warn"} <= {"crop_inside"}


def test_open_mouths_are_seen_and_closed_ones_are_not(look):
    def flagged(emotion: str) -> int:
        return sum(
            by_name(*look(person, emotion))["mouth_closed"].verdict in ("warn", "error")
            for person in PEOPLE
        )

    assert flagged("shocked") >= 9
    assert flagged("surprised") >= 9
    assert flagged("neutral") == 0


def test_closed_eyes_are_seen_and_open_ones_are_not(look):
    def flagged(tiles: Iterable[tuple[str, str]]) -> int:
        return sum(
            by_name(*look(*tile))["eyes_open"].verdict in ("warn", "error") for tile in tiles
        )

    with (PROJECT / "benchmarks" / "closed_eyes.csv").open(newline="") as file:
        closed = [(row["person"], row["emotion"]) for row in csv.DictReader(file)]
    assert len(closed) == 26
    assert flagged(closed) >= 0.8 * len(closed)
    assert flagged((person, "neutral") for person in PEOPLE) == 0
    assert flagged((person, "scared") for person in PEOPLE) == 0


def test_an_eye_without_an_iris_is_closed_whatever_the_landmarks_say(look):
    image, faces = look("P003", "exhausted")
    assert eye_openness(faces[0].landmarks68) > 0.20  # dlib takes the fold of the lid for its edge
    assert by_name(image, faces)["eyes_open"].verdict == "warn"


def test_a_closed_eye_that_is_too_small_for_an_error_says_so(look):
    image, faces = look("P005", "pensive")  # 57 px between the eyes
    check = by_name(image, faces)["eyes_open"]
    assert check.value is not None and check.value < 0.15 and check.verdict == "warn"
    assert "no error below 90 px between the eyes, here 57" in check.threshold
    assert "below 90 px" not in by_name(*look("P005", "neutral"))["eyes_open"].threshold


@pytest.mark.parametrize("person", ["P001", "P004", "P006", "P009"])
def test_eyes_that_a_smile_narrows_pass_and_closed_ones_do_not(look, analyzer, person):
    image, (face, *_) = look(person, "happy")

    def with_lids(share: float) -> Check:
        warped = degradations.close_eyes(image, face.landmarks68, share)
        found = by_name(warped, analyzer.analyze(warped))["eyes_open"]
        assert found.value is not None and found.value < RULES["eyes_open"].low
        return found

    narrow, shut = with_lids(0.5), with_lids(1.0)
    assert (narrow.verdict, narrow.hint) == ("pass", "")
    assert shut.verdict == "warn"
    assert "smiles, which narrows the eyes" in shut.hint and "cannot be seen" in shut.hint


@pytest.mark.parametrize("person", PEOPLE)
def test_backs_profiles_and_bodies_are_not_ready(look, person):
    assert by_name(*look(person, "view_back"))["face_found"].verdict == "error"
    profile = by_name(*look(person, "view_left"))
    assert profile["face_found"].verdict == "error" or profile["yaw"].verdict in ("warn", "error")
    assert by_name(*look(person, "studio_posture"))["face_pixels"].verdict in ("warn", "error")


def test_a_plain_background_is_calmer_than_a_living_room_and_neither_fails(look):
    plain, room = (
        by_name(*look("P002", kind))["background"] for kind in ("studio_portrait", "amateur_selfie")
    )
    assert plain.value is not None and room.value is not None
    assert room.value > 2 * plain.value
    assert plain.verdict == room.verdict == "pass"
    assert plain.threshold == "for information"


def test_a_small_mouth_opening_reads_as_a_photographer_would_say_it(look):
    check = by_name(*look("P001", "amateur_selfie"))["mouth_closed"]
    assert (
        check.hint == "The mouth is open by 16 % of its width: close it, or choose another frame."
    )


def test_a_turned_head_is_a_warning_and_its_expression_is_not_assessed(look):
    checks = by_name(*look("P001", "view_left"))
    assert checks["yaw"].verdict == "warn"
    assert checks["yaw"].value == pytest.approx(37.5, abs=7.5)
    assert "to the picture's right" in checks["yaw"].hint
    assert checks["eyes_open"].verdict == checks["mouth_closed"].verdict == "not_assessed"


def test_a_small_face_fails_its_sizes(look):
    image, faces = look("P001", "studio_posture")
    checks = by_name(image, faces)
    assert checks["face_pixels"].verdict == "warn"
    assert checks["face_pixels"].value == pytest.approx(88, abs=24)
    assert checks["inter_eye"].verdict == "warn"
    assert checks["centered_y"].verdict == "warn"


def test_no_face_is_an_error_and_the_rest_is_not_assessed(look):
    image, faces = look("P001", "view_back")
    checks = assess(image, faces)
    assert worst(checks) == "error"
    assert [check.name for check in checks if check.verdict == "error"] == ["face_found"]
    assert by_name(image, faces)["yaw"].verdict == "not_assessed"


def test_a_second_face_is_measured_against_the_first(look):
    image, (face,) = look("P002", "studio_portrait")
    half = dataclasses.replace(face, box=face.box / 2, score=0.1)
    tenth = dataclasses.replace(face, box=face.box / 10, score=0.1)
    assert by_name(image, [face, half])["single_face"].verdict == "warn"  # a quarter of the area
    assert by_name(image, [face, tenth])["single_face"].verdict == "warn"
    assert (
        by_name(image, [face, dataclasses.replace(half, box=face.box * 0.9)])["single_face"].verdict
        == "error"
    )


@pytest.mark.parametrize("person", PEOPLE[:4])
def test_sharpness_does_not_depend_on_skin_or_size_but_on_blur(look, person):
    for kind in ("studio_portrait", "neutral"):
        image, faces = look(person, kind)
        between_eyes = np.linalg.norm(
            faces[0].landmarks[42:48].mean(axis=0) - faces[0].landmarks[36:42].mean(axis=0)
        )
        blurred = np.asarray(
            Image.fromarray(image).filter(ImageFilter.GaussianBlur(0.03 * float(between_eyes)))
        )
        assert by_name(image, faces)["sharpness"].verdict == "pass"
        assert by_name(blurred, faces)["sharpness"].verdict == "warn"


def test_side_light_darkness_glare_and_haze_are_told_apart(look):
    image, faces = look("P002", "neutral")
    light = ("exposure_dark", "exposure_bright", "luminance_mean", "illumination", "dynamic_range")

    def warns(picture: np.ndarray) -> set[str]:
        checks = by_name(np.clip(picture, 0, 255).astype(np.uint8), faces)
        return {name for name in light if checks[name].verdict == "warn"}

    nose = int(faces[0].landmarks[30, 0])
    from_the_right = np.where(np.arange(image.shape[1]) < nose, 0.4, 1.0)[None, :, None]
    assert warns(image) == set()
    assert {"exposure_dark", "luminance_mean"} <= warns(image * 0.5)
    assert warns(image * 1.8) == {"exposure_bright"}
    assert "illumination" in warns(image * from_the_right)
    assert warns(image * 0.04 + 150) == {"dynamic_range"}


def test_a_crop_beyond_the_picture_is_black(look):
    image, (face,) = look("P002", "studio_portrait")
    top = int(face.landmarks[:, 1].min()) - 20
    moved = dataclasses.replace(
        face, landmarks=face.landmarks - (0, top), box=face.box - np.array([0, top, 0, top])
    )
    check = by_name(image[top:], [moved])["crop_inside"]
    assert check.verdict == "warn"
    assert check.value == pytest.approx(0.35, abs=0.15)
    assert "turns black" in check.hint


def test_identity_needs_references_and_tells_people_apart(look, analyzer):
    image, faces = look("P001", "studio_portrait")
    own = [look("P001", emotion)[1][0].embedding for emotion in ("neutral", "sad", "scared")]
    others = [look("P005", emotion)[1][0].embedding for emotion in ("neutral", "sad", "scared")]
    assert by_name(image, faces)["identity"].verdict == "not_assessed"
    assert by_name(image, faces, analyzer=analyzer, references=own)["identity"].verdict == "pass"
    stranger = by_name(image, faces, analyzer=analyzer, references=others)["identity"]
    assert stranger.verdict == "error"
    assert "somebody else" in stranger.hint


def test_the_file_itself_is_judged_when_it_is_given(look):
    image, faces = look("P001", "neutral")
    picture = Image.fromarray(image)
    see_through = picture.convert("RGBA")
    see_through.putalpha(128)
    opaque = picture.convert("RGBA")

    def verdicts(data: bytes | None) -> tuple[str, str]:
        checks = by_name(image, faces, data=data)
        return checks["decodable"].verdict, checks["alpha"].verdict

    assert verdicts(encode_jpeg(picture)) == ("pass", "pass")
    assert verdicts(encode_png(picture)) == ("pass", "pass")
    assert verdicts(_png(opaque)) == ("pass", "pass")
    assert verdicts(_png(see_through)) == ("pass", "warn")
    assert verdicts(_png(picture.convert("P"))) == ("pass", "pass")
    assert verdicts(b"a text file") == ("error", "not_assessed")
    assert verdicts(None) == ("not_assessed", "not_assessed")


@pytest.mark.parametrize(("now", "verdict"), [("error", "error"), ("warn", "warn")])
def test_reload_names_the_checks_whose_verdict_changed(look, now, verdict):
    image, faces = look("P002", "studio_portrait")
    before = assess(image, faces)
    assert reload_check(before, before).verdict == "pass"
    after = [
        dataclasses.replace(check, verdict=now) if check.name == "sharpness" else check
        for check in before
    ]
    for changed in (reload_check(before, after), reload_check(after, before)):
        assert changed.verdict == verdict
        assert "Changed: sharpness." in changed.hint


def test_a_small_share_never_reads_as_nothing():
    assert RULES["exposure_bright"].judge(0.3).hint.startswith("30 % of the face")
    assert RULES["crop_inside"].judge(0.0061).hint.startswith("0.6 % of LivePortrait's crop")


def test_thresholds_read_well():
    assert RULES["resolution"].threshold == ">= 1024 (error < 256)"
    assert RULES["yaw"].threshold == "within 15 (error beyond 45)"
    assert RULES["centered_x"].threshold == ">= 0.35 and <= 0.65"


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_no_source_of_a_limit_is_a_private_word():
    sources = [rule.source for rule in RULES.values()]
    assert not [source for source in sources if "seed" in source.lower()]
    assert RULES["min_face"].source == "LivePortrait input contract, section 5: 64"
    contract = (PROJECT / "docs" / "reference" / "contracts.md").read_text(encoding="utf-8")
    for source in sources:
        for section in re.findall(r"input contract, section (\d+)", source):
            assert f"| {section} | " in contract.split("## The LivePortrait input contract")[1]


def test_what_earlier_versions_recorded_is_read_with_the_rules_own_source():
    check = RULES["min_face"].judge(80)
    assert to_record(check) == dataclasses.asdict(check)
    assert from_record(to_record(check)) == check
    assert from_record(to_record(check) | {"source": "seed 1: 64"}) == check
