"""`preflight --for`: what animators would be given of a picture, in words, JSON and the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.core.openpeople import asset_path
from avatar_pipeline.faces.animators.profiles import ANIMATORS
from avatar_pipeline.faces.animators.seen import applying, seen_by, view
from avatar_pipeline.faces.readiness import assess
from tests.integration.preflight.conftest import Call


def test_each_animator_has_a_line(portraits: Path, call: Call) -> None:
    code, out, _ = call(portraits / "good.jpg", "--for", "ditto,infinitetalk")
    assert code in (0, 1)
    assert "Ditto: pass. 512 x 512" in out
    assert "InfiniteTalk: pass. 640 x 640" in out


def test_json_has_what_it_is_given(portraits: Path, call: Call) -> None:
    _, out, _ = call(portraits, "--json", "--for", "flashhead", "--for", "personalive")
    first = json.loads(out)["pictures"][0]
    assert [one["animator"] for one in first["animators"]] == ["flashhead", "personalive"]
    assert first["animators"][0]["input"] == [512, 512]
    assert len(first["animators"][0]["corners"]) == 4


def test_without_it_nothing_changes(portraits: Path, call: Call) -> None:
    _, out, _ = call(portraits / "good.jpg", "--json")
    assert json.loads(out)["pictures"][0]["animators"] == []


def test_the_page_shows_each_ones_cut_from_several_processes(
    portraits: Path, call: Call, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    call(portraits, "--report", page, "--for", "ditto", "--jobs", "2")
    text = page.read_text(encoding="utf-8")
    assert text.count("What Ditto sees") >= 3
    assert "Ditto: pass. 512 x 512" in text


def test_an_unknown_animator_is_named_with_those_that_are_known(
    portraits: Path, call: Call
) -> None:
    code, _, err = call(portraits, "--for", "heygen")
    assert code == 2
    assert "Known: liveportrait" in " ".join(err.split())


def test_a_wide_picture_is_squeezed_by_one_that_stretches(analyzer) -> None:
    image = np.asarray(Image.open(asset_path("P001", "studio_portrait")).convert("RGB"))
    wide = np.concatenate([image, image[:, -1:].repeat(image.shape[1], axis=1)], axis=1)
    face = analyzer.analyze(wide)[0]
    seen = seen_by(ANIMATORS["personalive"], wide.shape[1], wide.shape[0], face)
    shape = next(check for check in seen.checks if check.name == "cut_shape")
    assert shape.verdict == "warn"
    assert shape.value == pytest.approx(0.5, rel=0.01)
    assert "squeezed" in seen.words


def test_what_an_animator_sees_is_its_cut(analyzer) -> None:
    image = np.asarray(Image.open(asset_path("P001", "studio_portrait")).convert("RGB"))
    face = analyzer.analyze(image)[0]
    seen = seen_by(ANIMATORS["flashhead"], image.shape[1], image.shape[0], face)
    picture = view(image, seen.cut)
    assert picture.shape == (512, 512, 3)
    (found,) = analyzer.analyze(picture)
    assert analyzer.distance(found.embedding, face.embedding) < 0.3


def test_a_missing_face_is_no_error_for_an_animator_that_looks_for_none(analyzer) -> None:
    wall = np.full((800, 800, 3), 128, np.uint8)
    checks = assess(wall, analyzer.analyze(wall))
    found = {
        name: [one.name for one in applying(ANIMATORS[name], checks) if one.verdict == "error"]
        for name in ("liveportrait", "infinitetalk")
    }
    assert found == {"liveportrait": ["face_found"], "infinitetalk": []}


def test_an_open_mouth_is_an_error_for_liveportrait_and_none_for_a_whole_frame(
    portraits: Path, call: Call
) -> None:
    _, out, _ = call(portraits / "more" / "shocked.png", "--json", "--for", "ditto,infinitetalk")
    (picture,) = json.loads(out)["pictures"]
    assert picture["verdict"] == "error"
    assert [one["verdict"] for one in picture["animators"]] == ["error", "warn"]
