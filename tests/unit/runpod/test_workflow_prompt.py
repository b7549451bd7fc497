"""The prompt reaches the text encoder that the sampler reads, or the workflow is refused."""

from __future__ import annotations

from typing import Any

import pytest

from avatar_pipeline.core.errors import RemoteError
from avatar_pipeline.runpod.workflow import ImageRequest, check_workflow
from tests.support.workflows import Nodes, flux, node, sdxl

ORDER = ImageRequest("candidate_0", "a person", 1024, 1536, 30, 2.5, 77)


def fill(content: Any) -> Nodes:
    return check_workflow(content, "mine.json").fill(ORDER)


def text(value: str) -> dict[str, Any]:
    return node("PrimitiveStringMultiline", value=value)


def test_a_text_node_is_filled_and_a_lora_loaders_text_is_left_alone() -> None:
    lora = node("Lora Loader (LoraManager)", text="<lora:x:1>", model=["4", 0], clip=["4", 1])
    nodes = fill(flux({"20": text("x"), "21": lora}, n6={"text": ["20", 0], "clip": ["21", 1]}))
    assert nodes["20"]["inputs"]["value"] == "a person"
    assert nodes["21"]["inputs"]["text"] == "<lora:x:1>"
    assert nodes["6"]["inputs"]["text"] == ["20", 0]


@pytest.mark.parametrize(
    ("added", "place"),
    [
        ({"20": node("PrimitiveString", value="x")}, ("20", "value")),
        ({"20": node("CR Prompt Text", prompt="x")}, ("20", "prompt")),
        ({"20": node("Reroute", **{"": ["21", 0]}), "21": text("x")}, ("21", "value")),
        (
            {"20": node("StringTrim", string=["21", 0], mode="Both"), "21": text("x")},
            ("21", "value"),
        ),
        (
            {"20": node("ShowText|pysssss", text=["57:8", 0], text_0="saved"), "57:8": text("x")},
            ("57:8", "value"),
        ),
        (
            {"20": node("StringConcatenate", string_a="x", string_b="", delimiter=", ")},
            ("20", "string_a"),
        ),
        (
            {
                "20": node(
                    "StringReplace", string="a picture of [who]", find="[who]", replace=["21", 0]
                ),
                "21": text("x"),
            },
            ("21", "value"),
        ),
    ],
    ids=["string", "other people's", "reroute", "trim", "subgraph", "one text", "blank"],
)
def test_the_node_that_holds_the_text_is_filled(added: Nodes, place: tuple[str, str]) -> None:
    nodes = fill(flux(added, n6={"text": ["20", 0]}))
    assert nodes[place[0]]["inputs"][place[1]] == "a person"
    assert nodes["6"]["inputs"]["text"] == ["20", 0]


def test_what_is_typed_into_a_joining_node_stays_and_is_said() -> None:
    join = node("StringConcatenate", string_a=["21", 0], string_b=", film grain", delimiter="")
    content = flux({"20": join, "21": text("x")}, n6={"text": ["20", 0]})
    workflow = check_workflow(content, "mine.json")
    nodes = workflow.fill(ORDER)
    assert nodes["21"]["inputs"]["value"] == "a person"
    assert nodes["20"]["inputs"]["string_b"] == ", film grain"
    assert any("node 20 (StringConcatenate) adds ', film grain'" in said for said in workflow.notes)


@pytest.mark.parametrize("encoder", ["CLIPTextEncodeFlux", "CLIPTextEncodeHiDream"])
def test_all_texts_of_one_encoder_get_the_prompt(encoder: str) -> None:
    texts = {"clip_l": "tags", "t5xxl": "a sentence"}
    if encoder == "CLIPTextEncodeHiDream":
        texts |= {"clip_g": "", "llama": ""}
    changed = node(encoder, clip=["4", 1], guidance=3.5, **texts)
    nodes = fill(flux({"6": changed}, n9={"positive": ["6", 0]}))
    assert {nodes["6"]["inputs"][name] for name in texts} == {"a person"}
    assert nodes["6"]["inputs"]["guidance"] == 2.5


def test_sdxl_encoders_get_the_prompt_twice_and_the_size() -> None:
    nodes = fill(sdxl())
    encoder = nodes["2"]["inputs"]
    assert (encoder["text_g"], encoder["text_l"]) == ("a person", "a person")
    assert (encoder["target_width"], encoder["target_height"]) == (1024, 1536)
    assert (encoder["width"], encoder["height"]) == (4096, 4096)  # was never the picture's
    assert nodes["3"]["inputs"]["text"] == "blurred"


@pytest.mark.parametrize(
    "between",
    [
        node("ControlNetApply", conditioning=["6", 0], control_net=["4", 0], image=["4", 0]),
        node("ConditioningSetTimestepRange", conditioning=["6", 0], start=0.0, end=1.0),
        node("ControlNetApplyAdvanced", positive=["6", 0], negative=["7", 0], strength=1.0),
        node("ConditioningCombine", conditioning_1=["6", 0], conditioning_2=["6", 0]),
    ],
)
def test_conditioning_nodes_lie_between_encoder_and_sampler(between: dict[str, Any]) -> None:
    nodes = fill(flux({"30": between}, n8={"conditioning": ["30", 0]}))
    assert nodes["6"]["inputs"]["text"] == "a person"


CONCAT = node("ConditioningConcat", conditioning_to=["41", 0], conditioning_from=["6", 0])
COMBINED = {
    "40": CONCAT,
    "41": node("CLIPTextEncode", text="masterpiece, photograph of", clip=["4", 1]),
}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            flux(COMBINED, n8={"conditioning": ["40", 0]}),
            r"node 41 \(CLIPTextEncode\) and node 6 \(CLIPTextEncode\): which.*Write {prompt}",
        ),
        (
            flux(
                {
                    "20": node("StringConcatenate", string_a=["21", 0], string_b=["22", 0]),
                    "21": text("masterpiece"),
                    "22": text("a cat"),
                },
                n6={"text": ["20", 0]},
            ),
            "from several, in node 21 .*, node 22 .*Write {prompt}",
        ),
        (
            flux(
                {"20": node("TextGenerate", prompt=["21", 0], max_length=512), "21": text("x")},
                n6={"text": ["20", 0]},
            ),
            r"node 20 \(TextGenerate\), which is not known",
        ),
        (
            flux(
                {"20": node("StringReplace", string="a woman", find="woman", replace="man")},
                n6={"text": ["20", 0]},
            ),
            r"changes the prompt in node 20 \(StringReplace\)",
        ),
        (flux(n8={"conditioning": ["7", 0]}), r"node 7 \(ConditioningZeroOut\).*no prompt passes"),
        (
            flux({"30": node("CLIPTextEncodeMine", a="x", b="y")}, n8={"conditioning": ["30", 0]}),
            r"node 30 \(CLIPTextEncodeMine\) is not known",
        ),
        (
            flux(
                {
                    "9": node(
                        "SamplerCustomAdvanced",
                        noise=["30", 0],
                        guider=["31", 0],
                        sigmas=["32", 0],
                        latent_image=["5", 0],
                    ),
                    "30": node("RandomNoise", noise_seed=0),
                    "31": node("DualCFGGuider", cond1=["8", 0], cond2=["41", 0], negative=["7", 0]),
                    "32": node("BasicScheduler", steps=20, model=["4", 0]),
                    "41": COMBINED["41"],
                }
            ),
            r"two texts in node 31 \(DualCFGGuider\)",
        ),
        (flux(n6={"text": ["99", 0]}), "lacks a node.*node 6 .*'text'"),
    ],
)
def test_a_text_that_may_be_another_than_the_prompt_is_refused(content: Any, words: str) -> None:
    with pytest.raises(RemoteError, match=f"the workflow mine.json .*{words}"):
        fill(content)


def test_a_text_that_holds_the_word_prompt_in_braces_says_where_it_goes() -> None:
    content = flux(
        COMBINED,
        n6={"text": "{prompt}, grey backdrop"},
        n8={"conditioning": ["40", 0]},
    )
    nodes = fill(content)
    assert nodes["6"]["inputs"]["text"] == "a person, grey backdrop"
    assert nodes["41"]["inputs"]["text"] == "masterpiece, photograph of"


def test_a_detailer_with_a_text_of_its_own_is_said() -> None:
    added = {
        "50": node("CLIPTextEncode", text="a face", clip=["4", 1]),
        "51": node("FaceDetailer", image=["10", 0], positive=["50", 0], seed=1, steps=9),
    }
    workflow = check_workflow(flux(added, n11={"images": ["51", 0]}), "mine.json")
    assert any("node 51 (FaceDetailer) draws over" in said for said in workflow.notes)
    assert workflow.fill(ORDER)["9"]["inputs"]["seed"] == 77
