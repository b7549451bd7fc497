"""Our cuts against what the animators' own functions gave for the same boxes and landmarks:
animator_cuts.json, written by benchmarks/animator_conformance.py from checkouts of their code.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from avatar_pipeline.faces.animators import cuts
from avatar_pipeline.faces.animators.profiles import ANIMATORS

RECORDED = json.loads((Path(__file__).parent / "animator_cuts.json").read_text(encoding="utf-8"))
# Their own detectors give the box, and not our estimate of it.
BY_BOX = {
    "hunyuanportrait": lambda box, size: cuts.grown_box(box, 1.0, *size),
    "sonic": lambda box, size: cuts.grown_box(box, 0.5, *size),
    "flashhead": lambda box, size: cuts.clipped_square(box, 2.0, *size),
}
# pixels of the network's input; more where docs/animators.md says why
TOLERANCE = {"wan-animate": 0.55}


def test_every_animator_of_the_table_is_recorded_at_the_commit_that_the_table_names():
    assert {name: one["commit"][:12] for name, one in RECORDED["animators"].items()} == {
        name: animator.commit for name, animator in ANIMATORS.items()
    }


@pytest.mark.parametrize("name", ANIMATORS)
def test_the_cut_is_the_animators_own(name):
    for case, theirs in zip(RECORDED["cases"], RECORDED["animators"][name]["cuts"], strict=True):
        ours = _ours(name, case)
        assert [ours.width, ours.height] == theirs["size"]
        across, down = ours.scales()
        apart = (ours.corners - np.array(theirs["corners"])) * max(across, down)
        assert np.linalg.norm(apart, axis=1).max() <= TOLERANCE.get(name, 0.5)


def _ours(name: str, case: dict) -> cuts.Cut:
    size = case["width"], case["height"]
    if name in BY_BOX:
        return cuts.rectangle(BY_BOX[name](tuple(case["box"]), size), 512, 512)
    landmarks = np.array(case["landmarks"], np.float32)
    face: Any = SimpleNamespace(landmarks=landmarks, landmarks68=landmarks)
    return ANIMATORS[name].cut(*size, face)


def test_a_cut_says_how_much_of_it_is_outside_of_the_picture():
    half = cuts.rectangle((-50, 0, 50, 100), 512, 512)
    assert half.outside(100, 100) == pytest.approx(0.5)
    assert cuts.rectangle((0, 0, 100, 100), 512, 512).outside(100, 100) == 0


def test_a_cut_says_how_much_it_squeezes():
    assert cuts.whole(1024, 512, 512, 512).squeezed() == pytest.approx(0.5)


def test_flashheads_cut_at_the_edge_stretches_the_face():
    inside = cuts.clipped_square((450, 450, 550, 550), 2.0, 1000, 1000)
    at_edge = cuts.clipped_square((10, 450, 110, 550), 2.0, 1000, 1000)
    assert cuts.rectangle(inside, 512, 512).squeezed() == pytest.approx(1.0)
    assert cuts.rectangle(at_edge, 512, 512).squeezed() > 1.2
