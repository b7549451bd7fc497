"""The person cut out of the picture: how exact, in which colours, and with which model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.core.errors import GenerationError, ModelError
from avatar_pipeline.core.openpeople import asset_path, emotion_tiles
from avatar_pipeline.cutout.background import cut_out, on_colour


@pytest.fixture(autouse=True)
def no_model(monkeypatch, tmp_path):
    monkeypatch.delenv("AVATAR_MATTING_MODEL", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def person(analyzer):
    """P002, curls and all, with an alpha that counts as true: the pictures of these tests are
    composed with it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", "/nonexistent")
        portrait = (
            Image.open(asset_path("P002", "studio_portrait")).convert("RGB").resize((512, 512))
        )
        return np.asarray(cut_out(portrait, analyzer), np.float32)


def laid_on(person: np.ndarray, wall: np.ndarray) -> Image.Image:
    share = person[..., 3:] / 255
    return Image.fromarray((person[..., :3] * share + wall * (1 - share)).round().astype(np.uint8))


def test_alpha_and_colours_of_a_person_on_a_known_wall(analyzer, person):
    ramp = np.linspace(0.7, 1.0, 512)[None, :, None] * np.ones((512, 1, 1))
    wall = ramp * np.array([90, 170, 235])
    picture = laid_on(person, wall)
    cut = cut_out(picture, analyzer)
    assert (cut.mode, cut.size) == ("RGBA", (512, 512))
    found, true = np.asarray(cut, np.float32), person[..., 3]
    assert np.abs(found[..., 3] - true).mean() / 255 < 0.02
    assert (np.abs(found[..., 3] - true) > 128).mean() < 0.01
    # Between the curls: their own colour, not the wall's that the picture shows there.
    mixed = (true > 60) & (true < 220)
    assert mixed.sum() > 500
    off, kept = (
        np.abs(image[..., :3][mixed] - person[..., :3][mixed]).mean()
        for image in (found, np.asarray(picture, np.float32))
    )
    assert off < 0.5 * kept
    # And nothing of the person is recoloured where no wall shines through.
    solid = found[..., 3] == 255
    assert np.array_equal(found[..., :3][solid], np.asarray(picture)[solid])


def test_a_whole_body_small_in_a_park_keeps_its_head(analyzer):
    picture = (
        Image.open(asset_path("P010", "amateur_posture"))
        .convert("RGB")
        .resize((678, 1011), Image.Resampling.LANCZOS)
    )
    alpha = np.asarray(cut_out(picture, analyzer))[..., 3]
    face = analyzer.analyze(np.asarray(picture))[0]
    x, y = face.landmarks68[27].astype(int)
    between = int(np.linalg.norm(face.landmarks68[39] - face.landmarks68[42]))
    assert alpha[y - 2 * between, x] > 200  # hair above the forehead
    assert alpha[:40].max() < 30  # the trees
    assert 0.08 < (alpha > 128).mean() < 0.3


def test_a_large_picture_has_the_same_alpha_at_its_own_size(analyzer):
    small = emotion_tiles("P005")["neutral"]
    large = small.resize((small.width * 4, small.height * 4), Image.Resampling.BICUBIC)
    alphas = [
        np.asarray(cut_out(picture, analyzer).resize(small.size, Image.Resampling.BOX))[..., 3]
        for picture in (small, large)
    ]
    assert np.abs(alphas[0].astype(int) - alphas[1]).mean() < 4


def test_without_a_face_the_middle_is_cut_out(analyzer):
    picture = np.full((200, 300, 3), (230, 230, 225), np.uint8)
    picture[60:200, 100:200] = (150, 30, 30)
    alpha = np.asarray(cut_out(Image.fromarray(picture), analyzer))[..., 3]
    assert alpha[130, 150] == 255
    assert alpha[20, 20] == 0


def test_laid_onto_a_colour():
    rgba = Image.new("RGBA", (2, 1))
    rgba.putpixel((0, 0), (200, 100, 50, 255))
    rgba.putpixel((1, 0), (200, 100, 50, 0))
    laid = on_colour(rgba, "#00Ff80")
    assert (laid.mode, laid.getpixel((0, 0)), laid.getpixel((1, 0))) == (
        "RGB",
        (200, 100, 50),
        (0, 255, 128),
    )


@pytest.mark.parametrize(
    "colour", ["", "00FF80", "#00FF8", "#00FF8000", "#GG0000", "green", "#+1+1+1"]
)
def test_other_colour_notations_are_refused(colour):
    with pytest.raises(GenerationError, match=r"bg_color is .*#RRGGBB"):
        on_colour(Image.new("RGBA", (2, 2)), colour)


def write_model(file: Path, side: int) -> None:
    """A model that calls the red channel the person: (1, 3, side, side) in, (1, 1, side, side)
    out.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    bounds = {
        name: numpy_helper.from_array(np.array([value]), name)
        for name, value in (("from", 0), ("to", 1), ("axis", 1))
    }
    shapes = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, side, side])
        for n, c in (("input", 3), ("output", 1))
    ]
    node = helper.make_node("Slice", ["input", "from", "to", "axis"], ["output"])
    graph = helper.make_graph(
        [node], "red", shapes[:1], shapes[1:], initializer=list(bounds.values())
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), file
    )


def test_a_model_on_disk_is_used_named_or_in_the_users_folder(analyzer, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    picture = np.zeros((90, 120, 3), np.uint8)
    picture[:, 60:] = (255, 0, 0)
    (tmp_path / ".u2net").mkdir()
    write_model(tmp_path / ".u2net" / "u2net_human_seg.onnx", 320)
    write_model(tmp_path / "modnet_photographic.onnx", 512)
    for named in (None, str(tmp_path / "modnet_photographic.onnx")):
        if named:
            monkeypatch.setenv("AVATAR_MATTING_MODEL", named)
        alpha = np.asarray(cut_out(Image.fromarray(picture), analyzer))[..., 3]
        assert alpha[:, :50].max() < 5
        # MODNet's red of 1 is 1; the mean that u2net subtracts is undone by its stretching.
        assert alpha[:, 70:].min() > 250


def test_a_model_that_is_missing_unknown_or_damaged_is_named(analyzer, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    (tmp_path / "other.onnx").write_bytes(b"model")
    (tmp_path / "u2net.onnx").write_bytes(b"not a model")
    for name, message in (
        ("u2netp.onnx", "no matting model"),
        ("other.onnx", "unknown kind"),
        ("u2net.onnx", "cannot be loaded"),
    ):
        monkeypatch.setenv("AVATAR_MATTING_MODEL", str(tmp_path / name))
        with pytest.raises(ModelError, match=message):
            cut_out(Image.new("RGB", (64, 64)), analyzer)
