"""The face detail pass, on full bodies of the embedded model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.core.openpeople import emotion_tiles
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance
from avatar_pipeline.imaging.compose import paste_warped
from avatar_pipeline.imaging.images import open_image
from avatar_pipeline.pipeline.assets.base_image import face_detail
from avatar_pipeline.pipeline.assets.base_image import run as base_image
from avatar_pipeline.pipeline.assets.base_image.face_detail import detail_face, find_faces
from avatar_pipeline.pipeline.assets.photo_intake import run as photo_intake
from avatar_pipeline.pipeline.head_crops import frame
from avatar_pipeline.pipeline.stage import StageResult
from tests.support.given import context_of, inputs_of

PRESET = get_preset("embedded")
SPEC = ActorSpec(
    name=ActorName("somebody"),
    description="european 38 year old female with short curly dark hair",
    likeness="synthetic",
    framing="full_body",
)
PROMPT = f"headshot portrait photograph of a {SPEC.description}"


@pytest.fixture(scope="module")
def session() -> Iterator[PipelineSession]:
    session = open_session(PRESET)
    yield session
    session.close()


@pytest.fixture(scope="module")
def body(session: PipelineSession, analyzer: FaceAnalyzer) -> StageResult:
    """The base image without the pass."""
    return run(session, analyzer, face_detail=False)


def run(session: PipelineSession, analyzer: FaceAnalyzer, **settings: Any) -> StageResult:
    intake = photo_intake.run(
        inputs_of(SPEC), photo_intake.Settings(), context_of(analyzer, preset=PRESET)
    ).files
    return base_image.run(
        inputs_of(SPEC, {"photo_intake": intake}),
        base_image.Settings(candidates=2, **settings),
        context_of(analyzer, session),
    )


def picture(result: StageResult) -> Image.Image:
    return open_image(result.files["somebody_base.png"], name="base")


def test_a_small_face_is_drawn_again_and_the_rest_stays(
    session: PipelineSession, body: StageResult, analyzer: FaceAnalyzer
) -> None:
    plain = np.asarray(picture(body))
    assert "face_detail" not in body.metrics
    result = run(session, analyzer)
    detailed = np.asarray(picture(result))
    assert result.metrics["face_detail"] == "redrawn"
    before, after = result.metrics["inter_eye"], result.metrics["inter_eye_redrawn"]
    assert isinstance(before, float) and isinstance(after, float)
    assert before < 32 < 90 < after
    assert set(result.previews) == {"base_image", "candidate_sheet", "face_detail_heads"}
    assert result.seeds["detail_0"] == derive_seed(5, "base_image.detail", 0)

    (face,), (old,) = find_faces(detailed, analyzer), find_faces(plain, analyzer)
    assert face.score > old.score + 0.5  # the detector is surer of it
    assert np.abs(face.landmarks68 - old.landmarks68).max() < 0.3 * before
    changed = np.argwhere((plain != detailed).any(axis=2))
    left, top, right, bottom = (int(edge) for edge in old.box)
    grown = 2 * (right - left)
    assert changed[:, 0].min() > top - grown and changed[:, 0].max() < bottom + grown
    assert changed[:, 1].min() > left - grown and changed[:, 1].max() < right + grown
    # Nothing is darker or lighter on the whole than it was.
    box = np.s_[top:bottom, left:right]
    assert np.abs(plain[box].mean(axis=(0, 1)) - detailed[box].mean(axis=(0, 1))).max() < 12

    assert run(session, analyzer).files == result.files


def test_pictures_that_need_nothing_stay_as_they_are(
    session: PipelineSession, analyzer: FaceAnalyzer
) -> None:
    tile = emotion_tiles("P005")["neutral"]
    portrait = frame("P005", tile, analyzer.analyze(np.asarray(tile))[0], PRESET).image
    wall = Image.new("RGB", (512, 768), "gray")
    two = Image.fromarray(np.hstack([np.asarray(portrait.resize((256, 256)))] * 2))
    for image, reason in (
        (portrait, "not needed"),
        (wall, "no face found"),
        (two, "2 faces, none of them dominant"),
    ):
        detail = detail_face(image, PROMPT, 5, 2, 3.0, session, analyzer)
        assert (detail.image, detail.done, detail.seeds) == (image, reason, {})


def test_a_face_that_is_lost_moved_or_somebody_else_is_not_put_back(
    session: PipelineSession, analyzer: FaceAnalyzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, other = (
        frame(name, tile, analyzer.analyze(np.asarray(tile))[0], PRESET).image
        for name, tile in ((name, emotion_tiles(name)["neutral"]) for name in ("P005", "P010"))
    )
    # Not so small that its embedding says nothing: at a third of a head shot its eyes are 35 pixels
    # apart.
    image = Image.new("RGB", (512, 768), "gray")
    image.paste(person.resize((172, 172), Image.Resampling.LANCZOS), (170, 40))
    (face,) = find_faces(np.asarray(image), analyzer)
    assert inter_eye_distance(face.landmarks68) > 32
    shifted = Image.fromarray(np.roll(np.asarray(person), 30, axis=1))
    for head, reason in (
        (Image.new("RGB", (512, 512)), "0 faces in it"),
        (shifted, "it moved by 0."),
        (other, "it became another person"),
    ):
        calls: list[int] = []

        def draw(
            session: PipelineSession,
            image: Image.Image,
            prompt: str,
            seed: int,
            *options: Any,
            head: Image.Image = head,
            calls: list[int] = calls,
        ) -> Image.Image:
            calls.append(seed)
            return head

        monkeypatch.setattr(face_detail, "image_to_image", draw)
        detail = detail_face(image, PROMPT, 5, 2, 3.0, session, analyzer)
        assert detail.image is image
        assert (
            detail.done.startswith("kept as it was: none of 3 redrawn faces passes, ")
            and reason in detail.done
        )
        assert calls == [derive_seed(5, "base_image.detail", index) for index in range(3)]
    monkeypatch.setattr(face_detail, "image_to_image", lambda *_: person)
    assert detail_face(image, PROMPT, 5, 2, 3.0, session, analyzer).done == "redrawn"


def test_what_is_cut_out_and_put_back_lies_where_it_was() -> None:
    import cv2

    random = np.random.default_rng(1)
    image = cv2.GaussianBlur(
        random.integers(0, 255, (300, 200, 3), np.uint8).astype(np.uint8), (0, 0), 4
    )
    for scale, degrees in ((3.7, 12.0), (0.8, -20.0)):
        cos, sin = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
        linear = np.array([[cos, -sin], [sin, cos]])
        matrix = np.hstack(
            [linear, (np.array([128, 128]) - linear @ np.array([100, 120]))[:, None]]
        )
        part = cv2.warpAffine(
            image, matrix, (256, 256), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        mask = np.zeros((256, 256), np.float32)
        mask[64:192, 64:192] = 1
        back = paste_warped(image, part, mask, matrix)
        # of a picture that spans some 100 levels
        assert np.abs(back.astype(int) - image).max() <= 6
        assert np.array_equal(paste_warped(image, 255 - part, np.zeros_like(mask), matrix), image)
        changed = np.argwhere(
            (paste_warped(image, 255 - part, mask, matrix) != image).any(axis=2)
        ).mean(axis=0)
        assert np.abs(changed - [120, 100]).max() < 1.5
