"""The packaged workflow says what the Base Image Generation API says; others are found their way
in, or refused with a reason.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from avatar_pipeline.core.errors import RemoteError
from avatar_pipeline.runpod.workflow import PACKAGED, ImageRequest, check_workflow, load_workflow

ORDER = ImageRequest("candidate_0", "a person", 1024, 1536, 30, 2.5, 2**32 - 1)
# FLUX as ComfyUI's own example draws it: sampler, noise, steps and guidance are nodes of their own.
CUSTOM: dict[str, Any] = {
    "prompt": {"class_type": "CLIPTextEncode", "inputs": {"text": "x", "clip": ["clip", 0]}},
    "clip": {
        "class_type": "DualCLIPLoader",
        "inputs": {"clip_name1": "t5xxl_fp8.safetensors", "type": "flux"},
    },
    "unet": {
        "class_type": "UNETLoader",
        "inputs": {"unet_name": "folder/flux1-dev.safetensors", "weight_dtype": "default"},
    },
    "guidance": {
        "class_type": "FluxGuidance",
        "inputs": {"guidance": 3.5, "conditioning": ["prompt", 0]},
    },
    "guider": {
        "class_type": "BasicGuider",
        "inputs": {"model": ["unet", 0], "conditioning": ["guidance", 0]},
    },
    "steps": {
        "class_type": "BasicScheduler",
        "inputs": {"scheduler": "simple", "steps": 20, "denoise": 1, "model": ["unet", 0]},
    },
    "noise": {"class_type": "RandomNoise", "inputs": {"noise_seed": 1}},
    "euler": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
    "size": {
        "class_type": "EmptySD3LatentImage",
        "inputs": {"width": 512, "height": 512, "batch_size": 8},
    },
    "sampler": {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {
            "noise": ["noise", 0],
            "guider": ["guider", 0],
            "sampler": ["euler", 0],
            "sigmas": ["steps", 0],
            "latent_image": ["size", 0],
        },
    },
    "vae": {"class_type": "VAELoader", "inputs": {"vae_name": "ae.safetensors"}},
    "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["sampler", 0], "vae": ["vae", 0]}},
    "save": {
        "class_type": "SaveImage",
        "inputs": {"images": ["decode", 0], "filename_prefix": "x"},
    },
}


def packaged() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(PACKAGED.read_text())
    return content


def by_class(nodes: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [node["inputs"] for node in nodes.values() if node["class_type"] == kind]


def test_the_packaged_workflow_is_the_documents() -> None:
    workflow = load_workflow()
    assert Path(workflow.source).name == "normal_image_v4_workflow.json"
    assert workflow.model == "flux1-dev-fp8"
    (sampler,) = by_class(workflow.nodes, "KSampler")
    (latent,) = by_class(workflow.nodes, "EmptySD3LatentImage")
    assert (sampler["sampler_name"], sampler["scheduler"], sampler["cfg"], sampler["steps"]) == (
        "euler",
        "simple",
        1.0,
        25,
    )
    assert by_class(workflow.nodes, "FluxGuidance")[0]["guidance"] == 3.5
    assert (latent["width"], latent["height"], latent["batch_size"]) == (1024, 1536, 1)
    assert not any("lora" in node["class_type"].lower() for node in workflow.nodes.values())


def test_an_order_fills_it_and_leaves_the_template_alone() -> None:
    workflow = load_workflow()
    nodes = workflow.fill(ORDER)
    (sampler,) = by_class(nodes, "KSampler")
    assert (
        nodes[nodes[sampler["positive"][0]]["inputs"]["conditioning"][0]]["inputs"]["text"]
        == "a person"
    )
    assert nodes[sampler["negative"][0]]["inputs"]["text"] == ""
    assert (sampler["steps"], sampler["seed"]) == (30, 2**32 - 1)
    assert by_class(nodes, "FluxGuidance")[0]["guidance"] == 2.5
    assert workflow.nodes == packaged()


def test_ids_do_not_matter() -> None:
    text = json.dumps(packaged())
    for number in range(4, 12):
        text = text.replace(f'"{number}"', f'"node:{number * 7}"')
    nodes = check_workflow(json.loads(text), "renumbered").fill(ORDER)
    assert [node["text"] for node in by_class(nodes, "CLIPTextEncode")] == ["a person", ""]


def test_another_kind_of_sampler_and_one_picture_at_a_time() -> None:
    workflow = check_workflow(CUSTOM, "custom")
    nodes = workflow.fill(ORDER)
    assert workflow.model == "flux1-dev"
    assert nodes["prompt"]["inputs"]["text"] == "a person"
    assert nodes["guidance"]["inputs"]["guidance"] == 2.5
    assert nodes["steps"]["inputs"]["steps"] == 30
    assert nodes["noise"]["inputs"]["noise_seed"] == 2**32 - 1
    assert nodes["size"]["inputs"] == {"width": 1024, "height": 1536, "batch_size": 1}


def test_the_negative_prompt_is_left_alone() -> None:
    """A guider that has both: what is not wanted may even be the nearer one."""
    negative = {"class_type": "CLIPTextEncode", "inputs": {"text": "blurred", "clip": ["clip", 0]}}
    links = {
        "negative": ["negative", 0],
        "positive": ["guidance", 0],
        "model": ["unet", 0],
        "cfg": 1,
    }
    guider = {"class_type": "CFGGuider", "inputs": links}
    nodes = check_workflow(CUSTOM | {"negative": negative, "guider": guider}, "two prompts").fill(
        ORDER
    )
    assert nodes["negative"]["inputs"]["text"] == "blurred"
    assert nodes["prompt"]["inputs"]["text"] == "a person"


def without(*kinds: str) -> dict[str, Any]:
    return {key: node for key, node in packaged().items() if node["class_type"] not in kinds}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"nodes": [], "links": []}, "editor's format.*Export \\(API\\)"),
        ({}, "not in ComfyUI's API format"),
        ([1], "not in ComfyUI's API format"),
        ({"1": {"class_type": "KSampler"}}, "not in ComfyUI's API format"),
        (without("KSampler"), "exactly one sampler.*has none"),
        (packaged() | {"99": packaged()["9"]}, "exactly one sampler.*node 9, node 99"),
        (without("SaveImage"), "no SaveImage node"),
        (without("FluxGuidance"), "lacks a node.*'positive'.*'text'"),
        (without("EmptySD3LatentImage"), "lacks a node.*'latent_image'.*'width'"),
        (
            packaged()
            | {
                "9": {
                    "class_type": "KSampler",
                    "inputs": {**packaged()["9"]["inputs"], "positive": ["6", 0]},
                }
            },
            "FluxGuidance",
        ),
        (
            packaged()
            | {
                "9": {
                    "class_type": "KSampler",
                    "inputs": {**packaged()["9"]["inputs"], "seed": ["5", 0]},
                }
            },
            "'seed'",
        ),
    ],
)
def test_what_cannot_be_filled_is_refused(content: Any, words: str) -> None:
    with pytest.raises(RemoteError, match=f"the workflow mine.json.*{words}"):
        check_workflow(content, "mine.json")


def test_a_workflow_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.json"
    monkeypatch.setenv("RUNPOD_WORKFLOW", str(path))
    with pytest.raises(RemoteError, match="mine.json cannot be read"):
        load_workflow()
    path.write_text("{")
    with pytest.raises(RemoteError, match="mine.json is not JSON"):
        load_workflow()
    path.write_text("[" * 100_000)
    with pytest.raises(RemoteError, match="mine.json is not JSON"):
        load_workflow()
    path.write_text(" " * (1 << 20) + "{}")
    with pytest.raises(RemoteError, match="too long"):
        load_workflow()
    path.write_text(json.dumps(CUSTOM, indent=4))
    first = load_workflow()
    path.write_text(json.dumps(CUSTOM))
    assert first.model == "flux1-dev"
    assert load_workflow().sha256 == first.sha256
