"""Seed, steps, guidance, size and batch land in the nodes that the sampler reads, or the workflow
is refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from avatar_pipeline.core.errors import RemoteError
from avatar_pipeline.runpod.workflow import ImageRequest, check_workflow
from tests.support.workflows import flux, node, sdxl

ORDER = ImageRequest("candidate_0", "a person", 1024, 1536, 30, 2.5, 77)


def number(value: float) -> dict[str, Any]:
    return node("PrimitiveInt", value=value)


def test_numbers_in_nodes_of_their_own_are_followed() -> None:
    added = {
        "30": number(1024),
        "31": number(1024),
        "32": node("CR Seed to Int", seed=["33", 0]),
        "33": node("Seed (rgthree)", seed=7),
        "34": number(20),
        "35": node("PrimitiveFloat", value=3.5),
    }
    links = {"n5": {"width": ["30", 0], "height": ["31", 0]}, "n8": {"guidance": ["35", 0]}}
    content = flux(added, n9={"seed": ["32", 0], "steps": ["34", 0]}, **links)
    nodes = check_workflow(content, "mine.json").fill(ORDER)
    written = [nodes[key]["inputs"].get("value") for key in ("30", "31", "34", "35")]
    assert written == [1024, 1536, 30, 2.5]
    assert nodes["33"]["inputs"]["seed"] == 77
    assert nodes["9"]["inputs"]["seed"] == ["32", 0]


def test_one_number_for_both_sides_is_written_into_the_sides() -> None:
    content = flux({"30": number(1024)}, n5={"width": ["30", 0], "height": ["30", 0]})
    nodes = check_workflow(content, "mine.json").fill(ORDER)
    assert (nodes["5"]["inputs"]["width"], nodes["5"]["inputs"]["height"]) == (1024, 1536)


def test_a_computed_size_is_replaced_and_said() -> None:
    picker = node("FluxResolutionNode", megapixel="1.0", aspect_ratio="1:1 (Perfect Square)")
    content = flux({"30": picker}, n5={"width": ["30", 0], "height": ["30", 1]})
    workflow = check_workflow(content, "mine.json")
    nodes = workflow.fill(ORDER)
    assert (nodes["5"]["inputs"]["width"], nodes["5"]["inputs"]["height"]) == (1024, 1536)
    assert any("in place of what node 30 (FluxResolutionNode)" in said for said in workflow.notes)


def test_nodes_that_are_told_the_size_hear_of_the_new_one() -> None:
    shift = {"max_shift": 1.15, "base_shift": 0.5, "width": 1024, "height": 1024}
    content = flux(
        {"40": node("ModelSamplingFlux", model=["4", 0], **shift)}, n9={"model": ["40", 0]}
    )
    nodes = check_workflow(content, "mine.json").fill(ORDER)
    assert (nodes["40"]["inputs"]["width"], nodes["40"]["inputs"]["height"]) == (1024, 1536)


def test_the_advanced_sampler_draws_all_of_its_steps_by_the_seed() -> None:
    workflow = check_workflow(sdxl(), "mine.json")
    sampler = workflow.fill(ORDER)["5"]["inputs"]
    assert (sampler["noise_seed"], sampler["steps"], sampler["end_at_step"]) == (77, 30, 30)
    assert (sampler["cfg"], workflow.guided_by) == (2.5, "cfg")


def test_a_custom_sampler_with_its_own_sigmas() -> None:
    sampler = node(
        "SamplerCustom",
        add_noise=True,
        noise_seed=0,
        cfg=7.0,
        model=["1", 0],
        positive=["2", 0],
        negative=["3", 0],
        sampler=["8", 0],
        sigmas=["9", 0],
        latent_image=["4", 0],
    )
    added = {
        "5": sampler,
        "8": node("KSamplerSelect", sampler_name="euler"),
        "9": node("SDTurboScheduler", model=["1", 0], steps=1, denoise=1.0),
    }
    workflow = check_workflow(sdxl(added), "mine.json")
    nodes = workflow.fill(replace(ORDER, steps=4))
    assert (nodes["5"]["inputs"]["noise_seed"], nodes["9"]["inputs"]["steps"]) == (77, 4)
    with pytest.raises(RemoteError, match="at most 10 steps; 30 were asked for"):
        workflow.fill(ORDER)


def test_models_that_take_no_guidance_are_left_without_and_it_is_said() -> None:
    content = flux(
        n4={"ckpt_name": "flux1-schnell-fp8.safetensors"},
        n9={"positive": ["6", 0]},
    )
    workflow = check_workflow(content, "mine.json")
    assert workflow.fill(ORDER)["9"]["inputs"]["cfg"] == 1.0
    assert any("no guidance is written" in said for said in workflow.notes)


def test_a_job_gives_one_picture_whatever_repeats_it() -> None:
    added = {
        "30": number(4),
        "40": node("RepeatLatentBatch", samples=["5", 0], amount=3),
        "41": node("RepeatImageBatch", image=["10", 0], amount=["30", 0]),
    }
    content = flux(
        added,
        n5={"batch_size": ["30", 0]},
        n9={"latent_image": ["40", 0]},
        n11={"images": ["41", 0]},
    )
    nodes = check_workflow(content, "mine.json").fill(ORDER)
    assert nodes["5"]["inputs"]["batch_size"] == 1
    assert (nodes["40"]["inputs"]["amount"], nodes["41"]["inputs"]["amount"]) == (1, 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (sdxl(n5={"add_noise": "disable"}), r"without noise .*node 5 \(KSamplerAdvanced\)"),
        (sdxl(n5={"end_at_step": 13}), r"a part of its steps in node 5 \(KSamplerAdvanced\)"),
        (sdxl(n5={"start_at_step": 4}), "a part of its steps"),
        (
            flux({"30": node("MathExpression", expression="a + 1")}, n9={"seed": ["30", 0]}),
            r"node 9 \(KSampler\) has no number 'seed'.*linked to node 30 \(MathExpression\)",
        ),
        (flux(n9={"seed": ["randomize"]}), r"node 9 \(KSampler\) has no number 'seed'"),
        (
            flux(
                {"5": node("VAEEncode", pixels=["12", 0]), "12": node("LoadImage", image="a.png")}
            ),
            r"'width' as a plain value: node 5 \(VAEEncode\) takes its size elsewhere",
        ),
        (
            flux({"5": node("EmptyHunyuanLatentVideo", width=512, height=512, length=33)}),
            "draws a video of 33 frames",
        ),
    ],
)
def test_a_number_that_would_not_count_is_refused(content: Any, words: str) -> None:
    with pytest.raises(RemoteError, match=f"the workflow mine.json .*{words}"):
        check_workflow(content, "mine.json")


def test_a_seed_beyond_a_primitives_range_is_refused_before_it_is_sent() -> None:
    workflow = check_workflow(flux({"30": number(7)}, n9={"seed": ["30", 0]}), "mine.json")
    with pytest.raises(RemoteError, match="takes numbers below 2\\*\\*63"):
        workflow.fill(replace(ORDER, seed=2**63))


@pytest.mark.parametrize(
    ("content", "block"),
    [
        (sdxl(), 8),
        (flux(), 16),
        (flux({"5": node("EmptyLatentImage", width=512, height=512, batch_size=1)}), 16),
    ],
)
def test_sides_are_multiples_of_what_the_model_draws(content: Any, block: int) -> None:
    assert check_workflow(content, "mine.json").block == block
