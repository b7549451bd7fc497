"""What a LoRA and its candidates are judged by: the held-out pictures, faces that are missing,
pictures that are copied.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.core.errors import GenerationError, PhotoError
from avatar_pipeline.core.openpeople import emotion_tiles
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.identity import Thresholds, compare
from avatar_pipeline.imaging.images import encode_png
from avatar_pipeline.pipeline.assets.lora.validation_images import cost, nearest
from avatar_pipeline.pipeline.assets.validated_avatar import run as validated_avatar
from avatar_pipeline.pipeline.identity_score import embeddings, score
from avatar_pipeline.pipeline.intake_files import Intake, write_intake
from avatar_pipeline.pipeline.stage import StageResult
from avatar_pipeline.pipeline.training_set import Member, write_members
from tests.support.given import context_of, inputs_of

SPEC = ActorSpec(
    name=ActorName("somebody"), description="a man with brown hair", likeness="synthetic"
)
EMOTIONS = ("neutral", "happy", "sad", "angry", "scared", "smug")
Found = dict[str, tuple[Image.Image, list[Face]]]


@pytest.fixture(scope="module")
def person(analyzer: FaceAnalyzer) -> Found:
    """P005 in six moods."""
    tiles = emotion_tiles("P005")
    return {name: (tiles[name], analyzer.analyze(np.asarray(tiles[name]))) for name in EMOTIONS}


@pytest.fixture(scope="module")
def stranger(analyzer: FaceAnalyzer) -> tuple[Image.Image, list[Face]]:
    tile = emotion_tiles("P003")["neutral"]
    return tile, analyzer.analyze(np.asarray(tile))


def test_a_missing_face_in_a_quarter_of_the_probes_counts_like_a_distance_of_0_4() -> None:
    assert cost(0.5, 1.0) == 0.5
    assert cost(0.5, 0.75) == pytest.approx(cost(0.9, 1.0))
    assert cost(0.2, 0.5) > cost(0.9, 1.0), "a good likeness in half of the pictures is none"


def test_a_score_is_the_median_over_pictures_with_a_face(
    person: Found, stranger: Any, analyzer: FaceAnalyzer
) -> None:
    references = embeddings([person[name][0] for name in EMOTIONS[:3]], analyzer)
    faces = [person["angry"][1], [], person["scared"][1], stranger[1]]
    found = score(faces, references, analyzer)
    each = [compare(analyzer, one[0].embedding, references).median for one in faces if one]
    assert (found.faces, found.pictures, found.face_rate) == (3, 4, 0.75)
    assert found.distance == float(np.median(each))
    nothing = score([[], []], references, analyzer)
    assert (nothing.distance, nothing.face_rate) == (float("inf"), 0.0)
    with pytest.raises(PhotoError, match="none of the held-out pictures shows a face"):
        embeddings([Image.new("RGB", (64, 64))], analyzer)


def test_a_picture_that_copies_a_photograph_is_near_it_whatever_the_others_are(
    person: Found, analyzer: FaceAnalyzer
) -> None:
    training = [person[name][0] for name in EMOTIONS[:4]]
    assert nearest([person["happy"][1], person["sad"][1]], training, analyzer) == 0.0
    drawn = nearest([person["scared"][1], [], person["smug"][1]], training, analyzer)
    assert drawn is not None and drawn > 0.1
    assert nearest([[]], training, analyzer) is None


class Drawing:
    """A session whose model draws what it is told to, in turn."""

    preset = get_preset("embedded")


@pytest.fixture
def choose(person: Found, analyzer: FaceAnalyzer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """validated_avatar of these pictures, trained on three moods of P005, two others held out."""
    members = [
        Member(name, "photograph", person[name][0], "a photograph", None) for name in EMOTIONS[:5]
    ]
    limits = Thresholds(0.5, 0.55, 0.55, "of the test", 0)
    intake = write_intake(Intake([], 0, limits), analyzer)

    def run(pictures: list[Image.Image], **settings: Any) -> StageResult:
        turn = iter(pictures)
        monkeypatch.setattr(
            validated_avatar, "text_to_images", lambda *given: [next(turn) for _ in given[1]]
        )
        monkeypatch.setattr(validated_avatar, "applied", lambda session, weights: nullcontext())
        chosen = validated_avatar.Settings(candidates=len(pictures), border="continued", **settings)
        variations = write_members(members[:3], members[3:])
        upstream = {
            "lora": {f"{SPEC.name}.safetensors": b""},
            "training_variations": variations,
            "photo_intake": intake,
        }
        return validated_avatar.run(
            inputs_of(SPEC, upstream, seed=1), chosen, context_of(analyzer, Drawing())
        )

    yield run


def rows(result: StageResult) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(result.files["candidates.csv"].decode())))


def test_candidates_are_measured_against_the_held_out_pictures_and_the_nearest_that_passes_is_kept(
    choose: Any, person: Found, stranger: Any, analyzer: FaceAnalyzer
) -> None:
    pictures = [stranger[0], person["smug"][0], Image.new("RGB", (256, 256)), person["neutral"][0]]
    result = choose(pictures, max_distance=0.6)
    held_out = embeddings([person[name][0] for name in EMOTIONS[3:5]], analyzer)
    trained = embeddings([person[name][0] for name in EMOTIONS[:3]], analyzer)
    found = {row["name"]: row for row in rows(result)}
    assert [found[f"candidate_{index}"]["verdict"] for index in (0, 2)] == ["fail", "fail"]
    assert (
        "identity" in found["candidate_0"]["faults"]
        and "face_found" in found["candidate_2"]["faults"]
    )
    for index, faces in ((1, person["smug"][1]), (3, person["neutral"][1])):
        row = found[f"candidate_{index}"]
        assert float(row["distance"]) == round(
            compare(analyzer, faces[0].embedding, held_out).median, 4
        )
        assert float(row["nearest_training"]) == round(
            compare(analyzer, faces[0].embedding, trained).nearest, 4
        )
    assert float(found["candidate_3"]["nearest_training"]) == 0.0, (
        "a copy of what was trained on is seen"
    )
    passing = [row for row in rows(result) if row["verdict"] == "pass"]
    assert passing, rows(result)
    order = [(len(row["warnings"].split()), float(row["distance"])) for row in passing]
    assert order == sorted(order)
    assert result.seeds == {
        f"candidate_{index}": derive_seed(1, "validated_avatar", index) for index in range(4)
    }
    assert {row["name"]: int(row["seed"]) for row in rows(result)} == result.seeds
    assert result.metrics["chosen"] == passing[0]["name"] == rows(result)[0]["name"]
    assert result.files["somebody_avatar.png"] == encode_png(pictures[int(passing[0]["name"][-1])])


def test_a_candidate_beyond_the_limit_does_not_pass(choose: Any, person: Found) -> None:
    distance = float(rows(choose([person["smug"][0]], max_distance=2.0))[0]["distance"])
    assert 0.1 < distance < 0.5
    choose([person["smug"][0]], max_distance=distance + 0.01)
    with pytest.raises(
        GenerationError,
        match=r"(?s)none of 1 candidates passes.*max_distance: "
        rf"{distance:.2f} from the person",
    ):
        choose([person["smug"][0]], max_distance=distance - 0.01)
