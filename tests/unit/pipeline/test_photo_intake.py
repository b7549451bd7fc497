"""Which photographs are used, held out or rejected; each of the rejected ones has its reason, and
what is missing is said.
"""

from __future__ import annotations

import copy
import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from PIL import Image, ImageFilter

from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.photos import Photo
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import PhotoError, StoreError
from avatar_pipeline.core.openpeople import asset_path, emotion_tiles
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.imaging.images import encode_jpeg, encode_png, open_image
from avatar_pipeline.pipeline import intake_files
from avatar_pipeline.pipeline.assets.photo_intake import run as photo_intake
from avatar_pipeline.pipeline.assets.photo_intake.analysis import PhotoAnalysis
from avatar_pipeline.pipeline.assets.photo_intake.analysis import analyze as analyze_photograph
from avatar_pipeline.pipeline.assets.photo_intake.sheet import COLOURS
from avatar_pipeline.pipeline.intake_files import read_intake
from avatar_pipeline.pipeline.stage import StageResult
from tests.support.given import context_of, inputs_of
from tests.support.photographs import photo

SPEC = ActorSpec(
    name=ActorName("somebody"), description="a man", likeness="synthetic", photos="folder"
)
PRESET = get_preset("embedded")
Take = Callable[..., StageResult]


@pytest.fixture(scope="module")
def take(analyzer: FaceAnalyzer) -> Iterator[Take]:
    """photo_intake of some photographs, of which each is analyzed, and its head written, once for
    all tests, but where remembered=False says that a repetition is to be compared.
    """
    remembering = copy.copy(analyzer)
    found: dict[bytes, list[Face]] = {}
    analyses: dict[tuple[Photo, str | None], PhotoAnalysis] = {}
    encoded: dict[tuple[str, tuple[int, int], bytes], bytes] = {}

    def analyze(image: np.ndarray) -> list[Face]:
        key = image.tobytes()
        if key not in found:
            found[key] = analyzer.analyze(image)
        return found[key]

    def run(
        photos: list[Photo],
        seed: int = 5,
        earlier: StageResult | None = None,
        description: str = SPEC.description,
        gender: Literal["male", "female"] | None = None,
        *,
        remembered: bool = True,
    ) -> StageResult:
        if not remembered:
            analyses.clear()
            encoded.clear()
        spec = SPEC.model_copy(update={"description": description})
        inputs = inputs_of(spec, photos=photos, seed=seed)
        if earlier is not None:
            inputs = replace(inputs, earlier=earlier.files.get)
        remembering.gender = gender  # type: ignore[attr-defined]
        remembering.analyze = lambda image: [  # type: ignore[method-assign]
            replace(face, gender=gender) if gender else face for face in analyze(image)
        ]
        return photo_intake.run(
            inputs,
            photo_intake.Settings(),
            context_of(remembering, preset=PRESET),
        )

    def analyze_once(photo: Photo, analyzer: FaceAnalyzer, preset: Preset) -> PhotoAnalysis:
        key = (photo, getattr(analyzer, "gender", None))
        if key not in analyses:
            analyses[key] = analyze_photograph(photo, analyzer, preset)
        return analyses[key]

    def encode_once(image: Image.Image) -> bytes:
        key = (image.mode, image.size, image.tobytes())
        if key not in encoded:
            encoded[key] = encode_png(image)
        return encoded[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photo_intake, "analyze", analyze_once)
        patch.setattr(intake_files, "encode_png", encode_once)
        yield run


def rows(result: StageResult) -> dict[str, dict[str, str]]:
    """intake.csv by photograph."""
    return {
        row["photograph"]: row
        for row in csv.DictReader(io.StringIO(result.files["intake.csv"].decode()))
    }


def verdicts(result: StageResult) -> dict[str, str]:
    return {check.name: check.verdict for check in result.checks}


@pytest.fixture(scope="module")
def plain(take: Take, portraits: list[Photo]) -> StageResult:
    return take(portraits)


def test_good_photographs_are_used_or_held_out(plain: StageResult, portraits: list[Photo]) -> None:
    found = rows(plain)
    assert list(found) == [photo.name for photo in portraits]
    assert sorted(row["decision"] for row in found.values()) == ["held out"] * 2 + ["used"] * 6
    assert {row["reason"] for row in found.values()} == {""}
    assert found["happy.png"]["expression"] == "smiling"
    assert found["neutral.png"]["expression"] == "neutral"
    assert 50 < float(found["neutral.png"]["inter_eye"]) < 80
    assert verdicts(plain) == {
        "enough_photographs": "warn",
        "coverage": "warn",
        "strangers": "pass",
        "as_described": "not_assessed",
    }


def held_out(result: StageResult) -> set[str]:
    return {name for name, row in rows(result).items() if row["decision"] == "held out"}


def test_a_photograph_that_goes_comes_or_changes_moves_no_other_across(
    take: Take, plain: StageResult, portraits: list[Photo]
) -> None:
    before = held_out(plain)
    for place in range(len(portraits)):
        fewer = take(portraits[:place] + portraits[place + 1 :], earlier=plain)
        assert before - {portraits[place].name} <= held_out(fewer), portraits[place].name
        again = take(portraits, earlier=fewer)
        assert before - {portraits[place].name} <= held_out(again), "added again"
    renamed = [replace(portraits[0], name="0.png"), *portraits[1:]]
    was = {"0.png" if name == portraits[0].name else name for name in before}
    assert held_out(take(renamed, earlier=plain)) == was
    again = take(portraits, earlier=plain, remembered=False)
    assert again.files == plain.files, "replay gives the same"


MAN = "european 40 year old man with a beard"


@pytest.mark.parametrize(
    ("description", "gender", "verdict"),
    [
        (MAN, "male", "pass"),
        (MAN, "female", "warn"),
        ("a woman with red hair", "male", "warn"),
        ("a person with red hair", "male", "not_assessed"),
        ("an androgynous woman", "male", "not_assessed"),
        (MAN, None, "not_assessed"),
    ],
)
def test_photographs_of_a_man_described_as_a_woman_get_a_warning(
    take: Take, portraits: list[Photo], description: str, gender: str | None, verdict: str
) -> None:
    result = take(portraits, description=description, gender=gender)
    assert verdicts(result)["as_described"] == verdict
    (check,) = [check for check in result.checks if check.name == "as_described"]
    assert ("a guess" in check.hint and "from the front read as" in check.hint) == (
        verdict == "warn"
    )


def test_fewer_than_five_photographs_from_the_front_say_nothing_of_the_description(
    take: Take, portraits: list[Photo]
) -> None:
    result = take(portraits[:4], description=MAN, gender="female")
    assert verdicts(result)["as_described"] == "not_assessed"


def test_heads_and_facts_are_handed_on(
    plain: StageResult, portraits: list[Photo], analyzer: FaceAnalyzer
) -> None:
    intake = read_intake(plain.files, analyzer)
    assert [one.name for one in intake.photographs] == [one.name for one in portraits]
    assert sum(one.held_out for one in intake.photographs) == 2
    first = analyzer.analyze(np.asarray(open_image(portraits[0].data, name="first")))[0]
    assert np.array_equal(intake.photographs[0].embedding, first.embedding)
    assert intake.photographs[0].image.size == (PRESET.width, PRESET.height)
    assert (intake.thresholds.photographs, intake.thresholds.interval is not None) == (8, True)


def test_the_same_seed_splits_the_same_and_another_one_differently(
    take: Take, plain: StageResult, portraits: list[Photo]
) -> None:
    assert take(portraits, remembered=False).files == plain.files
    held_out = {
        seed: {
            name
            for name, row in rows(take(portraits, seed)).items()
            if row["decision"] == "held out"
        }
        for seed in (5, 6, 7)
    }
    assert len({frozenset(names) for names in held_out.values()}) > 1


def test_every_bad_photograph_has_its_reason(
    take: Take,
    plain: StageResult,
    portraits: list[Photo],
    stranger: Photo,
    three_people: Photo,
    wall: Photo,
    truncated: Photo,
    text: Photo,
) -> None:
    tile = emotion_tiles("P005")["neutral"]
    pixels = np.asarray(tile)
    bad = {
        "copy_of_first.png": (
            Photo("copy_of_first.png", portraits[0].data, portraits[0].sha256),
            "the same file as neutral.png",
        ),
        "blurred.png": (
            photo("blurred.png", encode_png(tile.filter(ImageFilter.GaussianBlur(4)))),
            "blurred",
        ),
        "dark.png": (
            photo("dark.png", encode_png(Image.fromarray((pixels * 0.15).astype(np.uint8)))),
            "nearly black",
        ),
        "stranger.png": (stranger, "another person"),
        "three_people.jpg": (three_people, "3 faces"),
        "wall.png": (wall, "no face"),
        "truncated.jpg": (truncated, "truncated.jpg"),
        "notes.jpg": (text, "notes.jpg"),
    }
    result = take([*portraits, *(item for item, _ in bad.values())])
    found = rows(result)
    for name, (_, words) in bad.items():
        assert found[name]["decision"] == "rejected", name
        assert words in found[name]["reason"], name
        assert any(warning.startswith(f"{name} is not used: ") for warning in result.warnings)
    # What is bad does not move the split of what is good.
    assert {name: found[name]["decision"] for name in rows(plain)} == {
        n: row["decision"] for n, row in rows(plain).items()
    }
    assert result.metrics["rejected"] == len(bad)
    assert verdicts(result)["strangers"] == "warn"
    sheet = np.asarray(open_image(result.files["contact_sheet.jpg"], name="sheet")).astype(int)
    for colour in COLOURS.values():
        assert (np.abs(sheet - colour).max(axis=2) < 25).any()


def resaved(tile: Image.Image) -> bytes:
    return encode_jpeg(
        tile.resize((tile.width // 2, tile.height // 2), Image.Resampling.LANCZOS), quality=70
    )


def test_of_near_duplicates_the_better_one_is_kept(take: Take, portraits: list[Photo]) -> None:
    """A picture saved again smaller, one cut closer and one brightened are copies; seven other
    expressions are none.
    """
    tiles = emotion_tiles("P005")
    happy, sad = tiles["happy"], tiles["sad"]
    copies = [
        photo("a_happy_small.jpg", resaved(happy)),  # before the original by name
        photo("sad_cut.png", encode_png(sad.crop((30, 8, sad.width - 20, sad.height)))),
        photo(
            "zz_bright.jpg",
            encode_jpeg(
                tiles["angry"].point([min(255, round(v * 1.15)) for v in range(256)] * 3),
                quality=75,
            ),
        ),
    ]
    found = rows(take(sorted([*portraits, *copies], key=lambda one: one.name)))
    assert [name for name, row in found.items() if row["decision"] == "rejected"] == [
        one.name for one in copies
    ]
    reason = found["a_happy_small.jpg"]["reason"]
    assert reason == "nearly the same picture as happy.png, which shows the face larger"
    assert "nearly the same picture as sad.png" in found["sad_cut.png"]["reason"]


def test_a_lying_photograph_is_turned_upright(
    take: Take, plain: StageResult, portraits: list[Photo]
) -> None:
    lying = emotion_tiles("P005")["neutral"].transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    lying.save(buffer, "JPEG", quality=95, exif=exif)
    row = rows(take([photo("lying.jpg", buffer.getvalue()), *portraits[1:]]))["lying.jpg"]
    assert row["decision"] != "rejected"
    assert "turned upright (EXIF orientation 6)" in row["notes"]
    assert abs(float(row["roll"]) - float(rows(plain)["neutral.png"]["roll"])) < 3


def test_a_dominant_face_may_have_a_small_one_beside_it(take: Take, portraits: list[Photo]) -> None:
    with Image.open(asset_path("P005", "studio_portrait")) as opened:
        large = opened.convert("RGB").resize((1024, 1024), Image.Resampling.LANCZOS)
    large.paste(emotion_tiles("P009")["neutral"].resize((260, 165)), (0, 0))
    row = rows(take([photo("beside.png", encode_png(large)), *portraits[1:]]))["beside.png"]
    assert row["decision"] != "rejected"
    assert "1 much smaller faces beside" in row["notes"]


def test_what_is_missing_is_said(take: Take, plain: StageResult) -> None:
    missing = json.loads(plain.files["coverage.json"])["missing"]
    assert (
        "no three-quarter view to the left: take 2 with the head turned by 20 to 45 degrees to "
        "the left of the picture" in missing
    )
    assert not [text for text in missing if "smile" in text or "frontal" in text]
    smiles = [
        photo(f"{name}.jpg", encode_jpeg(picture))
        for name, picture in (
            ("happy", emotion_tiles("P001")["happy"]),
            ("playful", emotion_tiles("P001")["playful"]),
            ("selfie", Image.open(asset_path("P001", "amateur_selfie"))),
        )
    ]
    result = take(smiles)
    assert (
        "all photographs smile: add 2 or more neutral ones, mouth closed"
        in json.loads(result.files["coverage.json"])["missing"]
    )


def test_too_few_photographs_for_a_lora_are_a_warning_that_names_the_rejected_ones(
    take: Take, portraits: list[Photo], wall: Photo
) -> None:
    result = take([*portraits[:4], wall])
    (check,) = [check for check in result.checks if check.name == "enough_photographs"]
    assert (check.verdict, check.value) == ("warn", 4)
    assert "4 of 5 photographs are usable" in check.hint
    assert "no LoRA is trained" in check.hint
    assert "wall.png: no face was found" in check.hint
    assert result.metrics["held_out"] == 0


def test_nothing_usable_is_an_error_that_lists_all(
    take: Take, three_people: Photo, wall: Photo
) -> None:
    with pytest.raises(PhotoError, match="none of the 2 photographs") as error:
        take([three_people, wall])
    assert "three_people.jpg" in str(error.value)
    assert "wall.png" in str(error.value)


def test_a_described_actor_has_no_photographs_and_the_analyzers_limits(
    take: Take, analyzer: FaceAnalyzer
) -> None:
    result = take([])
    assert result.metrics["statement"] == "no photographs: described actor"
    assert set(verdicts(result).values()) == {"not_assessed"}
    intake = read_intake(result.files, analyzer)
    assert intake.photographs == []
    assert intake.thresholds.limit == analyzer.same_person
    assert intake.thresholds.source == "dlib's operating point: no photographs"


def test_faces_of_two_analyzers_do_not_mix(plain: StageResult) -> None:
    class Other:
        name = "other"

    with pytest.raises(StoreError, match="made with the analyzer dlib, and this run uses other"):
        read_intake(plain.files, Other())  # type: ignore[arg-type]


def test_what_is_not_taken_is_named_and_captions_are_handed_on(
    take: Take, portraits: list[Photo], analyzer: FaceAnalyzer
) -> None:
    captioned = replace(portraits[0], caption="ohwx, in the garden")
    raw = Photo("IMG_1.DNG", b"", sha256_bytes(b"x"), problem="a camera's raw file: develop it")
    result = take([captioned, *portraits[1:], raw])
    found = rows(result)
    assert found["IMG_1.DNG"]["decision"] == "rejected"
    assert found["IMG_1.DNG"]["reason"] == "a camera's raw file: develop it"
    assert "IMG_1.DNG is not used: a camera's raw file: develop it" in result.warnings
    assert "its caption: ohwx, in the garden" in found[captioned.name]["notes"]
    handed = {one.name: one.caption for one in read_intake(result.files, analyzer).photographs}
    assert handed[captioned.name] == "ohwx, in the garden"
    assert set(handed.values()) == {"", "ohwx, in the garden"}


def named_in(reason: str) -> str:
    return reason.split("same picture as ")[-1].split("same file as ")[-1].split(",")[0]


def test_of_a_burst_each_reason_names_the_shot_that_is_kept(
    take: Take, portraits: list[Photo]
) -> None:
    """Each is larger than the one before, and takes its place."""
    happy = emotion_tiles("P005")["happy"]
    size = np.array(happy.size)
    burst = [
        photo(
            f"burst_{number}.png",
            encode_png(happy.resize(tuple(size * share // 100), Image.Resampling.LANCZOS)),
        )
        for number, share in enumerate((60, 75, 100, 125))
    ]
    again = Photo("zz_again.png", burst[0].data, burst[0].sha256)
    others = [one for one in portraits if one.name != "happy.png"]
    found = rows(take(sorted([*others, *burst, again], key=lambda one: one.name)))
    rejected = {name: row["reason"] for name, row in found.items() if row["decision"] == "rejected"}
    assert list(rejected) == ["burst_0.png", "burst_1.png", "burst_2.png", "zz_again.png"]
    assert {named_in(reason) for reason in rejected.values()} == {"burst_3.png"}


def test_no_reason_names_a_photograph_that_is_rejected_as_another_persons(
    take: Take, portraits: list[Photo], stranger: Photo
) -> None:
    image = open_image(stranger.data, name="stranger")
    smaller = photo("aa_small.jpg", resaved(image))
    again = Photo("zz_again.png", stranger.data, stranger.sha256)
    result = take(sorted([*portraits, stranger, smaller, again], key=lambda one: one.name))
    reasons = {
        name: row["reason"] for name, row in rows(result).items() if row["decision"] == "rejected"
    }
    assert set(reasons) == {"aa_small.jpg", "stranger.png", "zz_again.png"}
    assert all(reason.startswith("probably another person") for reason in reasons.values())
