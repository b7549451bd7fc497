"""What is drawn from what: sizes of base images, heads of full bodies, and the faces that
variations are drawn with.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.photos import Photo
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.core.openpeople import asset_path
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.sampling import Sampling, Source
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance
from avatar_pipeline.imaging.images import encode_png, open_image
from avatar_pipeline.pipeline import head_crops
from avatar_pipeline.pipeline.assets import face_validation
from avatar_pipeline.pipeline.assets.base_image import run as base_image
from avatar_pipeline.pipeline.assets.photo_intake import run as photo_intake
from avatar_pipeline.pipeline.assets.training_variations import run as training_variations
from avatar_pipeline.pipeline.assets.training_variations import variations
from avatar_pipeline.pipeline.assets.training_variations.settings import Settings
from avatar_pipeline.pipeline.intake_files import read_intake
from avatar_pipeline.pipeline.stage import StageResult
from avatar_pipeline.pipeline.training_set import read_training_set
from tests.support.given import context_of, inputs_of

SIZES = {"headshot": (512, 512), "half_body": (512, 768), "full_body": (512, 768)}
PRESET = replace(
    get_preset("embedded"),
    sizes=SIZES,
    identity_adapter="ip/adapter.safetensors",
    identity_analyzer="dlib",
)
SPEC = ActorSpec(
    name=ActorName("somebody"),
    description="european 38 year old female with short curly dark hair",
    likeness="synthetic",
)


def standing(width: int, height: int) -> Image.Image:
    """P005 from head to toe."""
    with Image.open(asset_path("P005", "studio_posture")) as opened:
        picture = opened.convert("RGB").resize(
            (round(height * opened.width / opened.height), height), Image.Resampling.LANCZOS
        )
    canvas = Image.new("RGB", (width, height), picture.getpixel((0, 0)))
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    return canvas


def detail(image: Image.Image) -> float:
    """Variance of the Laplacian: how sharp a picture is."""
    import cv2

    return float(cv2.Laplacian(np.asarray(image.convert("L"), np.float32), cv2.CV_32F).var())


@pytest.fixture
def session(tmp_path: Path) -> PipelineSession:
    """A session that is never asked to load anything, whose model folder has an identity
    adapter.
    """
    (tmp_path / "ip").mkdir()
    (tmp_path / PRESET.identity_adapter).write_bytes(b"")
    return open_session(PRESET, "cpu", str(tmp_path))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, analyzer: FaceAnalyzer) -> list[dict[str, Any]]:
    """The pictures that were redrawn, which all give the sharp head of P005."""
    large = standing(1024, 1836)
    head = head_crops.frame("head", large, analyzer.analyze(np.asarray(large))[0], PRESET).image
    calls: list[dict[str, Any]] = []

    def draw(
        session: PipelineSession,
        image: Image.Image,
        prompt: str,
        seed: int,
        strength: float,
        sampling: Sampling,
    ) -> Image.Image:
        calls.append(
            {
                "image": image,
                "seed": seed,
                "strength": strength,
                "identity": sampling.identity,
                "made": head,
            }
        )
        return head

    def draw_all(
        session: PipelineSession, sources: Sequence[Source], strength: float, sampling: Sampling
    ) -> list[Image.Image]:
        return [
            draw(
                session,
                one.image,
                one.prompt,
                one.seed,
                strength,
                replace(sampling, identity=one.identity),
            )
            for one in sources
        ]

    monkeypatch.setattr(head_crops, "image_to_image", draw)
    monkeypatch.setattr(variations, "image_to_images", draw_all)
    return calls


@pytest.fixture
def vary(session: PipelineSession, analyzer: FaceAnalyzer) -> Callable[..., StageResult]:
    """training_variations of a base image, or of photographs."""

    def run(
        base: Image.Image,
        photos: list[Photo] | None = None,
        session: PipelineSession = session,
        **settings: Any,
    ) -> StageResult:
        chosen = Settings(**{"variations": 7, **settings})
        intake = photo_intake.run(
            inputs_of(SPEC, photos=photos or []),
            photo_intake.Settings(),
            context_of(analyzer, preset=PRESET),
        ).files
        upstream = {"photo_intake": intake, "base_image": {"somebody_base.png": encode_png(base)}}
        return training_variations.run(
            inputs_of(SPEC, upstream), chosen, context_of(analyzer, session)
        )

    return run


@pytest.mark.parametrize(
    ("framing", "settings", "size"),
    [
        ("headshot", {}, (512, 512)),
        ("half_body", {}, (512, 768)),
        ("full_body", {}, (512, 768)),
        ("full_body", {"width": 384}, (384, 768)),
        ("headshot", {"height": 640}, (512, 640)),
    ],
)
def test_a_base_image_has_the_size_of_its_framing(
    framing: str,
    settings: dict[str, int],
    size: tuple[int, int],
    session: PipelineSession,
    analyzer: FaceAnalyzer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def draw(
        session: PipelineSession,
        prompts: Sequence[str],
        seeds: Sequence[int],
        size: tuple[int, int],
        sampling: Sampling,
    ) -> list[Image.Image]:
        return [Image.new("RGB", size) for _ in seeds]

    monkeypatch.setattr(base_image, "text_to_images", draw)
    spec = SPEC.model_copy(update={"framing": framing})
    intake = photo_intake.run(
        inputs_of(spec), photo_intake.Settings(), context_of(analyzer, preset=PRESET)
    ).files
    result = base_image.run(
        inputs_of(spec, {"photo_intake": intake}),
        base_image.Settings(candidates=1, **settings),
        context_of(analyzer, session),
    )
    assert open_image(result.files["somebody_base.png"], name="base").size == size
    assert (result.metrics["width"], result.metrics["height"]) == size


def test_the_head_of_a_full_body_is_drawn_anew_before_it_is_varied(
    vary: Callable[..., StageResult], drawn: list[dict[str, Any]], analyzer: FaceAnalyzer
) -> None:
    base = standing(512, 768)
    (small,) = analyzer.analyze(np.asarray(base))
    assert inter_eye_distance(small.landmarks68) < 32
    result = vary(base)

    renewals, variations = drawn[: head_crops.RENEWALS], drawn[head_crops.RENEWALS :]
    assert len(variations) == 7
    assert [call["strength"] for call in renewals] == [0.7] * head_crops.RENEWALS
    assert np.array_equal(renewals[0]["identity"].embedding, small.embedding)
    assert {call["identity"].weight * PRESET.identity_unit for call in drawn} == {0.8}
    # What is varied and trained on is the sharp head, and its face is the person from here on.
    (face,) = analyzer.analyze(np.asarray(drawn[0]["made"]))
    assert np.array_equal(variations[0]["identity"].embedding, face.embedding)
    assert detail(variations[0]["image"]) > 3 * detail(renewals[0]["image"])
    assert detail(open_image(result.files["0001.png"], name="base_image")) > 3 * detail(
        renewals[0]["image"]
    )
    assert 0 < result.metrics["renewed_head_distance"] < 0.3  # type: ignore[operator]
    assert result.seeds.keys() >= {"head_0", "head_3", "variation_000", "variation_006", "held_out"}
    assert result.warnings == []
    assert vary(base).files == result.files


def test_a_head_shot_is_varied_as_it_is(
    vary: Callable[..., StageResult], drawn: list[dict[str, Any]], analyzer: FaceAnalyzer
) -> None:
    base = standing(1024, 1836).crop((312, 60, 712, 460)).resize((512, 512))
    result = vary(base, identity_scale=0.5)
    assert len(drawn) == 7
    assert {call["identity"].weight * PRESET.identity_unit for call in drawn} == {0.5}
    assert result.metrics["identity_scale"] == 0.5
    assert "renewed_head_distance" not in result.metrics


def test_photographs_are_varied_with_their_own_faces(
    vary: Callable[..., StageResult],
    drawn: list[dict[str, Any]],
    portraits: list[Photo],
    analyzer: FaceAnalyzer,
) -> None:
    vary(Image.new("RGB", (64, 64)), portraits, generated_share=0.3)
    own = [
        analyzer.analyze(np.asarray(open_image(photo.data, name=photo.name)))[0].embedding
        for photo in portraits
    ]
    assert len(drawn) == 3
    for call in drawn:
        assert call["strength"] == 0.2
        assert any(np.array_equal(call["identity"].embedding, embedding) for embedding in own)


def test_held_out_photographs_are_neither_trained_on_nor_drawn_from(
    vary: Callable[..., StageResult],
    drawn: list[dict[str, Any]],
    portraits: list[Photo],
    analyzer: FaceAnalyzer,
) -> None:
    result = vary(Image.new("RGB", (64, 64)), portraits, generated_share=0.5)
    assert len(drawn) == 7, (
        "more than there are photographs to draw from, so that each is drawn from"
    )
    rows = list(csv.DictReader(io.StringIO(result.files["metadata.csv"].decode())))
    held_out = {row["name"] for row in rows if row["split"] == "held_out"}
    trained = {
        row["name"] for row in rows if row["split"] == "train" and row["source"] == "photograph"
    }
    assert [call["seed"] for call in drawn] == [
        derive_seed(5, "training_variations", index) for index in range(7)
    ]
    assert result.seeds == {
        f"variation_{index:03d}": call["seed"] for index, call in enumerate(drawn)
    }
    assert len(held_out) == 2
    assert trained == {photo.name for photo in portraits} - held_out
    intake = read_intake(
        photo_intake.run(
            inputs_of(SPEC, photos=portraits),
            photo_intake.Settings(),
            context_of(analyzer, preset=PRESET),
        ).files,
        analyzer,
    )
    assert {photo.name for photo in intake.photographs if photo.held_out} == held_out
    hidden = [photo for photo in intake.photographs if photo.held_out]
    for call in drawn:
        assert not any(
            np.array_equal(call["identity"].embedding, photo.embedding) for photo in hidden
        )
        assert not any(
            np.array_equal(np.asarray(call["image"]), np.asarray(photo.image)) for photo in hidden
        )
    read = read_training_set(result.files)
    assert [len(read.images), len(read.captions), len(read.held_out)] == [
        sum(row["split"] == split for row in rows) for split in ("train", "train", "held_out")
    ]
    wanted = {photo.image.tobytes() for photo in hidden}
    assert {image.tobytes() for image in read.held_out} == wanted
    assert wanted.isdisjoint(image.tobytes() for image in read.images)


def test_without_a_fitting_adapter_variations_are_drawn_as_before_and_a_warning_says_so(
    vary: Callable[..., StageResult], drawn: list[dict[str, Any]], session: PipelineSession
) -> None:
    base = standing(512, 768)
    others = {
        "has no face-identity input": open_session(
            replace(PRESET, identity_adapter="", identity_analyzer=""), "cpu"
        ),
        "and the analyzer is dlib": open_session(
            replace(PRESET, identity_analyzer="insightface"), "cpu", str(session.model)
        ),
        "has no ip/adapter.safetensors": open_session(PRESET, "cpu", str(session.model / "ip")),
    }
    for reason, other in others.items():
        result = vary(base, session=other)
        assert len(result.warnings) == 1
        assert reason in result.warnings[0]
        assert result.metrics["identity_scale"] == 0
    assert vary(base, identity_scale=0).warnings == []
    assert {call["identity"] for call in drawn} == {None}


def test_a_head_that_cannot_be_drawn_anew_is_an_error(
    vary: Callable[..., StageResult], drawn: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_crops, "image_to_image", lambda *_: Image.new("RGB", (512, 512)))
    with pytest.raises(
        GenerationError,
        match=r"magnified 3\.\d-fold.*none of 4 "
        r"pictures.*framing: headshot",
    ):
        vary(standing(512, 768))


def test_a_small_face_blocks_photographs_only(analyzer: FaceAnalyzer) -> None:
    base = encode_png(standing(300, 450))
    verdicts = {}
    for photos in ("none", "openpeople:P005"):
        spec = SPEC.model_copy(update={"photos": photos})
        checks = face_validation.run(
            inputs_of(spec, {"base_image": {"somebody_base.png": base}}),
            face_validation.Settings(),
            context_of(analyzer),
        ).checks
        verdicts[photos] = next(check.verdict for check in checks if check.name == "min_face")
    assert verdicts == {"none": "warn", "openpeople:P005": "error"}
