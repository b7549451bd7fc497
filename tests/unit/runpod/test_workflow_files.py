"""A workflow's file: what is wrapped around it, what ComfyUI could not run, which picture comes
back.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from avatar_pipeline.core.errors import RemoteError
from avatar_pipeline.runpod.workflow import ImageRequest, check_workflow
from tests.support.workflows import flux, node

ORDER = ImageRequest("candidate_0", "a person", 1024, 1536, 30, 2.5, 77)
EDITOR = {"nodes": [{"id": 9, "type": "KSampler"}], "links": [], "version": 0.4}
WITH_PICTURE = flux({"12": node("LoadImage", image="me.png")})


@pytest.mark.parametrize(
    "wrapped",
    [
        {"input": {"workflow": flux()}},
        {"input": {"workflow": flux(), "images": []}},
        {"input": {"workflow": json.dumps(flux())}},
        {"prompt": flux(), "client_id": "x", "extra_data": {"extra_pnginfo": {"workflow": EDITOR}}},
        {"workflow": flux()},
        {"output": flux(), "workflow": EDITOR},
        {"input": {"prompt": flux()}, "policy": {"ttl": 10_000}},
        {"input": {"workflow_json": flux()}},
        {"version": "1f2a", "input": {"workflow_json": json.dumps(flux()), "output_quality": 95}},
        {"input": {"workflow": "custom", "custom_workflow": flux()}},
        {"body": {"input": {"workflow": flux()}}},
    ],
)
def test_requests_around_a_workflow_are_taken_off(wrapped: Any) -> None:
    workflow = check_workflow(wrapped, "mine.json")
    assert workflow.fill(ORDER)["6"]["inputs"]["text"] == "a person"
    assert workflow.sha256 == check_workflow(flux(), "mine.json").sha256


@pytest.mark.parametrize("content", [EDITOR, {"workflow": EDITOR}, {"input": {"workflow": EDITOR}}])
def test_the_editors_form_is_refused_with_how_to_export_the_other(content: Any) -> None:
    with pytest.raises(RemoteError, match=r"editor's format.*Export \(API\).*Dev mode"):
        check_workflow(content, "mine.json")


def test_notes_beside_the_nodes_are_left_out_and_ids_become_texts() -> None:
    content = flux({"_comment": "for portraits", "version": 1}, n9={"latent_image": [5, 0]})  # type: ignore[dict-item]
    nodes = check_workflow(content, "mine.json").fill(ORDER)
    assert set(nodes) == {str(number) for number in range(4, 12)}
    assert nodes["9"]["inputs"]["latent_image"] == ["5", 0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (flux(n10={"vae": ["99", 2]}), "'vae' of node 10 (VAEDecode) is linked to node 99"),
        (flux(n9={"denoise": float("nan")}), "no number in the input 'denoise' of node 9"),
        (flux(n6={"text": ["8", 0]}), "wait for each other: "),
        ({**flux(), "6": {"class_type": "CLIPTextEncode"}}, "API format (nodes by id"),
        (
            {"input": {"workflow": WITH_PICTURE, "images": [{"name": "me.png", "image": "AA=="}]}},
            "brings a picture along, for node 12 (LoadImage)",
        ),
        (
            flux(
                {
                    "12": node("LoadImage", image="https://example.com/a.png"),
                    "13": node("ControlNetApply", conditioning=["6", 0], image=["12", 0]),
                },
                n8={"conditioning": ["13", 0]},
            ),
            "reads an address in node 12 (LoadImage)",
        ),
        (
            flux({"11": node("PreviewImage", images=["10", 0])}),
            "no SaveImage node: no picture would come back. Add one in place of node 11",
        ),
        (
            flux({"11": node("SaveImageWebsocket", images=["10", 0])}),
            "no SaveImage node",
        ),
        (
            flux({"12": node("LoadImage", image="a.png")}, n11={"images": ["12", 0]}),
            "saves nothing that the sampler, node 9 (KSampler), draws: node 11 (SaveImage)",
        ),
        (
            flux(
                {"12": node("ImageBatch", image1=["10", 0], image2=["10", 0])},
                n11={"images": ["12", 0]},
            ),
            "joins pictures in node 12 (ImageBatch)",
        ),
        (
            flux({"9": node("XlabsSampler", conditioning=["6", 0], steps=20, noise_seed=0)}),
            "exactly one sampler",
        ),
    ],
)
def test_what_would_fail_on_the_worker_is_refused_here(content: Any, words: str) -> None:
    with pytest.raises(RemoteError, match=re.escape(words)):
        check_workflow(content, "mine.json")


def test_only_the_samplers_own_picture_is_drawn_and_saved() -> None:
    added = {
        "2": node("SaveImage", filename_prefix="mask", images=["3", 0]),
        "3": node("MaskToImage", mask=["1", 1]),
        "1": node("LoadImage", image="a.png"),
        "20": node("SaveImage", filename_prefix="large", images=["21", 0]),
        "21": node("ImageScaleBy", image=["10", 0], scale_by=2.0, upscale_method="lanczos"),
    }
    workflow = check_workflow(flux(added), "mine.json")
    nodes = workflow.fill(ORDER)
    assert [key for key, one in nodes.items() if one["class_type"] == "SaveImage"] == ["11"]
    assert any("node 2 (SaveImage), node 20 (SaveImage)" in said for said in workflow.notes)


def test_a_picture_that_is_scaled_after_it_is_drawn_is_said() -> None:
    added = {"21": node("ImageScaleBy", image=["10", 0], scale_by=2.0, upscale_method="lanczos")}
    workflow = check_workflow(flux(added, n11={"images": ["21", 0]}), "mine.json")
    assert any("node 21 (ImageScaleBy) changes the picture's size" in s for s in workflow.notes)


@pytest.mark.parametrize(
    ("prefix", "name", "fits"),
    [
        ("base_image", "base_image_00001_.png", True),
        ("base_image", "mask_00001_.png", False),
        ("a/b\\c", "c_00012_.webp", True),
        ("%date:yyyy-MM-dd%/me_%KSampler.seed%", "me_77_00001_.png", True),
        ("%date:yyyy%", "2026_00001_.png", False),
    ],
)
def test_names_of_saved_pictures(prefix: str, name: str, fits: bool) -> None:
    pattern = check_workflow(flux(n11={"filename_prefix": prefix}), "mine.json").picture_names
    assert bool(pattern and re.fullmatch(pattern, name)) == fits
