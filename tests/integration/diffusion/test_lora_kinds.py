"""LoRA files that somebody else's trainer made: which are distinguished by name, what is said of
those that cannot be used, and that nothing is left behind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.folding import unfolded
from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.memory import Plan
from avatar_pipeline.diffusion.prompt_chunks import count_tokens
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.diffusion.text_encoding import encode
from tests.support.lora_conventions import Written, dotted, kohya, text_encoders, with_words
from tests.support.lora_factors import dora, loha, lokr, lora
from tests.support.lora_table import measure, peft_folder
from tests.support.training_sets import tiny_session
from tests.unit.diffusion.test_loading import draw


def zeros(*layers: tuple[str, int, int], down: str = "lora_down", up: str = "lora_up") -> bytes:
    """A file of rank 1 by names, outputs and inputs."""
    tensors = {}
    for name, outputs, inputs in layers:
        tensors[f"{name}.{down}.weight"] = np.zeros((1, inputs), np.float16)
        tensors[f"{name}.{up}.weight"] = np.zeros((outputs, 1), np.float16)
    return save(tensors)


def peft(*layers: tuple[str, int, int]) -> bytes:
    return zeros(*layers, down="lora_A", up="lora_B")


FLUX2 = {
    "klein 9B, kohya": zeros(("lora_unet_double_blocks_0_img_attn_qkv", 12288, 4096)),
    "klein 4B, kohya": zeros(("lora_unet_single_blocks_0_linear1", 27648, 3072)),
    "klein 4B, attention alone": zeros(
        *((f"lora_unet_double_blocks_{block}_img_attn_proj", 3072, 3072) for block in range(5)),
        *((f"lora_unet_single_blocks_{block}_linear2", 3072, 12288) for block in range(20)),
    ),
    "dev, ai-toolkit": peft(("diffusion_model.double_blocks.3.txt_attn.qkv", 18432, 6144)),
    "diffusers": peft(
        ("transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj", 27648, 3072)
    ),
    "diffusers, double blocks": peft(("transformer.transformer_blocks.0.attn.to_q", 4096, 4096)),
    "diffusers, feed-forward": peft(("transformer.transformer_blocks.0.ff.linear_in", 18432, 3072)),
    "labelled flux": save_tensors(
        load_tensors(zeros(("lora_unet_single_blocks_2_linear2", 4096, 16384))),
        {"ss_base_model_version": "flux"},
    ),
    "labelled flux2": save_tensors(
        load_tensors(zeros(("lora_unet_double_blocks_0_img_attn_proj", 3072, 3072))),
        {"modelspec.architecture": "flux-2-klein-4b/lora"},
    ),
}


@pytest.mark.parametrize("name", FLUX2)
def test_flux_2_is_distinguished_from_flux_1(tiny_folder: Callable[[str], Path], name: str) -> None:
    session = tiny_session("flux", tiny_folder("flux"))
    model = r"FLUX\.2 (klein 4B|klein 9B|dev)"
    refused = pytest.raises(ModelError, match=f"the LoRA is one for {model}, and preset flux-dev")
    with refused as caught, applied(session, FLUX2[name]):
        pass
    assert "Train it again" not in str(caught.value)


OTHERS = {
    "Stable Diffusion 3": zeros(("lora_unet_joint_blocks_0_x_block_attn_qkv", 4608, 1536)),
    "Qwen-Image": peft(("transformer.transformer_blocks.0.img_mlp.net.0.proj", 12288, 3072)),
    "Wan": peft(("diffusion_model.blocks.0.self_attn.q", 5120, 5120)),
    "Z-Image": peft(("diffusion_model.layers.0.attention.to_q", 3840, 3840)),
    "Lumina 2": peft(("diffusion_model.layers.0.attention.qkv", 6912, 2304)),
    "Chroma": save(
        {
            f"lora_unet_double_blocks_0_img_attn_proj.lora_{side}.weight": np.zeros(shape, "f2")
            for side, shape in (("down", (1, 3072)), ("up", (3072, 1)))
        },
        {"modelspec.architecture": "chroma/lora"},
    ),
    "Stable Diffusion or SDXL": zeros(("lora_unet_mid_block_attentions_0_proj_in", 32, 32)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_loras_are_refused_by_their_models_name(
    tiny_folder: Callable[[str], Path], name: str
) -> None:
    session = tiny_session("flux", tiny_folder("flux"))
    refused = pytest.raises(ModelError, match=f"the LoRA is one for {name}.*, and preset flux-dev")
    with refused, applied(session, OTHERS[name]):
        pass


def named(*names: str) -> bytes:
    return save({name: np.zeros((2, 2), np.float32) for name in names})


DOWN, UP = "lora_unet_mid.lora_down.weight", "lora_unet_mid.lora_up.weight"
UNUSABLE = {
    "OFT": (named("lora_unet_mid.oft_blocks", "lora_unet_mid.alpha"), "an OFT or BOFT adapter"),
    "(IA)^3": (named("lora_unet_mid.weight", "lora_unet_mid.on_input"), r"an \(IA\)\^3 adapter"),
    "GLoRA": (named("lora_unet_mid.a1.weight", "lora_unet_mid.b1.weight"), "a GLoRA adapter"),
    "Control-LoRA": (named("lora_controlnet", DOWN, UP), "a Control-LoRA"),
    "embedding": (named("emb_params"), "no LoRA.*textual-inversion embedding"),
    "checkpoint": (named("model.diffusion_model.out.2.weight"), "no LoRA.*whole checkpoint"),
    "raw PEFT": (
        named("base_model.model.mid.lora_A.weight", "base_model.model.mid.lora_B.weight"),
        "adapter_config.json beside it.*Give the folder",
    ),
    "unknown names": (named(DOWN, UP, "lora_unet_mid.lora_sideways"), "lora_sideways"),
    "half a layer": (named(DOWN), "the layer mid lacks up"),
    "half a LoHa": (named("lora_unet_mid.hada_w1_a", "lora_unet_mid.hada_w2_b"), "lacks hada_w1_b"),
    "no such layer": (named(DOWN, UP), "none of its 2 tensors belongs to a layer of the unet"),
    "no such encoder": (named("lora_te3_x.lora_down.weight", "lora_te3_x.lora_up.weight"), "te"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_cannot_be_used_is_refused_by_its_kind(sd_session: PipelineSession, name: str) -> None:
    weights, words = UNUSABLE[name]
    refused = pytest.raises(ModelError, match=words)
    with refused as caught, applied(sd_session, weights):
        pass
    assert "Train it again" not in str(caught.value)
    assert not getattr(sd_session.denoiser, "peft_config", {})


def changed(file: Written, end: str, change: Callable[[torch.Tensor], torch.Tensor]) -> bytes:
    """The file with its first tensor of this end changed."""
    tensors = dict(file.tensors)
    name = next(name for name in tensors if name.endswith(end))
    tensors[name] = change(tensors[name]).contiguous()
    return save_tensors(tensors)


def test_numbers_that_are_none_and_shapes_that_do_not_fit(sd_session: PipelineSession) -> None:
    file = kohya(sd_session.pipeline, lora())
    hadamard = kohya(sd_session.pipeline, loha())
    for weights, words in (
        (changed(file, "lora_up.weight", lambda up: up * torch.nan), "no finite numbers"),
        (changed(file, ".alpha", lambda alpha: alpha * torch.inf), "alpha .* is no finite number"),
        (changed(file, "lora_up.weight", lambda up: up[1:]), "has 31 outputs of 32 inputs"),
        (changed(file, "lora_down.weight", lambda down: down[:, 1:]), "32 outputs of 31 inputs"),
        (changed(hadamard, "hada_w1_a", lambda w: w[1:]), "do not fit each other"),
    ):
        with (
            pytest.raises(ModelError, match=f"does not fit.*{words}"),
            applied(sd_session, weights),
        ):
            pass
    assert not measure(sd_session, file).stray


def test_a_layer_under_two_names_is_refused(sd_session: PipelineSession) -> None:
    file = kohya(sd_session.pipeline, lora())
    name = next(name for name in file.tensors if name.endswith("alpha")).removesuffix(".alpha")
    twice = {
        f"unet.{name.removeprefix('lora_unet_')}.lora_{new}.weight": file.tensors[
            f"{name}.lora_{old}.weight"
        ].clone()
        for new, old in (("A", "down"), ("B", "up"))
    }
    weights = save_tensors(file.tensors | twice)
    with pytest.raises(ModelError, match="in it twice"), applied(sd_session, weights):
        pass


def test_a_lora_that_changes_nothing_is_logged(sd_session: PipelineSession) -> None:
    lines: list[str] = []
    session = replace(sd_session, log=lines.append)
    file = kohya(session.pipeline, lora())
    tensors = {
        name: torch.zeros_like(value) if name.endswith("lora_up.weight") else value
        for name, value in file.tensors.items()
    }
    with applied(session, save_tensors(tensors)):
        assert any("changes nothing" in line for line in lines)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Lora", {"r": 4, "lora_alpha": 7, "use_rslora": True}),
        ("Lora", {"r": 4, "rank_pattern": {"to_k": 2}, "alpha_pattern": {"attn1.to_q": 1}}),
        ("LoHa", {"r": 3, "alpha": 5}),
        ("LoKr", {"r": 16, "alpha": 5, "decompose_factor": 4}),
        ("LoKr", {"r": 2, "alpha": 5, "decompose_both": True}),
    ],
)
def test_a_folder_that_peft_has_saved(
    each_session: PipelineSession, tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    file = peft_folder(each_session, kind, tmp_path, **settings)
    taken = measure(each_session, file, tmp_path)
    assert not taken.stray
    assert taken.worst < 1e-5


def test_folders_that_hold_no_lora_say_what_they_lack(
    sd_session: PipelineSession, tmp_path: Path
) -> None:
    def refused(words: str) -> None:
        with pytest.raises(ModelError, match=words), applied(sd_session, tmp_path):
            pass

    refused("holds no LoRA: neither adapter_config.json")
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({"peft_type": "OFT"}))
    refused("holds PEFT's OFT adapter")
    config.write_text("{")
    refused("adapter_config.json is damaged")
    config.write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 4}))
    refused("lacks adapter_model.safetensors")
    with pytest.raises(ModelError, match="cannot be read"), applied(sd_session, tmp_path / "none"):
        pass
    file = kohya(sd_session.pipeline, lora())
    (tmp_path / "pytorch_lora_weights.safetensors").write_bytes(file.data())
    assert not measure(sd_session, file, tmp_path).stray


@pytest.mark.parametrize("kind", ["LoHa", "rsLoRA", "DoRA of inputs"])
def test_strengths_stay_when_diffusers_puts_another_lora_beside(
    sd_session: PipelineSession, kind: str, tmp_path: Path
) -> None:
    """As a face-identity adapter with a LoRA of its own does."""
    pipeline = sd_session.pipeline
    if kind == "rsLoRA":
        settings = {"r": 4, "lora_alpha": 3, "use_rslora": True}
        peft_folder(sd_session, "Lora", tmp_path, **settings)
        file: Any = tmp_path
    else:
        file = kohya(pipeline, loha() if kind == "LoHa" else dora(lora(), False)).data()
    other = load_tensors(dotted(pipeline, lora(2, 0)).data())
    plain = draw(sd_session)
    with applied(sd_session, file), unfolded(sd_session.denoiser):
        taught = draw(sd_session)
        pipeline.load_lora_weights(other, adapter_name="beside")
        pipeline.set_adapters(["actor", "beside"], [1.0, 0.0])
        assert np.array_equal(draw(sd_session), taught)
        pipeline.set_adapters(["actor", "beside"], [1.0, 1.0])
        assert not np.array_equal(draw(sd_session), taught)
        pipeline.delete_adapters("beside")
        pipeline.set_adapters(["actor"])
        assert np.array_equal(draw(sd_session), taught)
    assert np.array_equal(draw(sd_session), plain)


def test_what_text_encoders_said_before_a_lora_is_not_kept_under_it(
    sd_session: PipelineSession,
) -> None:
    def said(prompt: str) -> torch.Tensor:
        return encode(sd_session, prompt)["prompt_embeds"]

    before = said("a man")
    for make in (lora(), loha()):
        half = text_encoders(sd_session.pipeline, {"text_encoder": "lora_te_"}, True, make)
        with applied(sd_session, half.data()):
            assert not torch.equal(said("a man"), before)
        assert torch.equal(said("a man"), before)


def test_a_bundles_word_is_read_by_its_vectors_and_forgotten(each_session: PipelineSession) -> None:
    if each_session.preset.family in ("flux2", "z_image", "qwen_image"):
        pytest.skip("bundles have vectors for CLIP and T5, which these do not read")
    pipeline = each_session.pipeline
    file = with_words(kohya(pipeline, lora(4, 2.0)), pipeline)
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder
    before = encode(each_session, "a photo of ohwx")
    count, table = len(tokenizer), encoder.get_input_embeddings().weight
    with applied(each_session, file.data()):
        assert count_tokens([tokenizer], "a ohwx") == count_tokens([tokenizer], "a") + 2
        embeds = encode(each_session, "a photo of ohwx")
        assert not torch.equal(embeds["prompt_embeds"], before["prompt_embeds"])
    assert len(tokenizer) == count
    assert encoder.get_input_embeddings().weight is table
    after = encode(each_session, "a photo of ohwx")
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_bundles_word_that_the_model_knows_or_of_another_width_is_refused(
    sd_session: PipelineSession,
) -> None:
    pipeline = sd_session.pipeline
    file = kohya(pipeline, lora())
    known = with_words(file, pipeline, word="a</w>")
    wide = replace(file, tensors=file.tensors | {"bundle_emb.ohwx.clip_g": torch.zeros(2, 1280)})
    for bundle, words in ((known, "knows already"), (wide, "encoder clip_g of width 1280")):
        with pytest.raises(ModelError, match=words), applied(sd_session, bundle.data()):
            pass
    assert "ohwx" not in pipeline.tokenizer.get_vocab()
    assert not measure(sd_session, file).stray


@pytest.mark.parametrize(("offload", "quantization"), [("group", "none"), ("none", "fp8")])
def test_lycoris_kinds_under_every_memory_plan(
    tiny_folder: Callable[[str], Path], offload: Any, quantization: Any
) -> None:
    session = tiny_session("sd", tiny_folder("sd"))
    pipeline = session.pipeline
    files = [kohya(pipeline, make, ("to_q", "conv1")).data() for make in (loha(), lokr(rank=3))]
    decomposed = kohya(pipeline, dora(lora()), ("to_q", "conv1")).data()
    taught = []
    for weights in (*files, decomposed):
        with applied(session, weights):
            taught.append(draw(session))
    session.loaded.hold(Plan(offload, quantization, False, 1.0, 1.0), session.log)
    plain = draw(session)
    close = 1e-5 if quantization == "none" else 0.2
    for weights, wanted in zip(files, taught, strict=False):
        with applied(session, weights):
            assert draw(session) == pytest.approx(wanted, abs=close)
    if quantization == "none":
        with applied(session, decomposed):
            assert draw(session) == pytest.approx(taught[-1], abs=close)
    else:
        refused = pytest.raises(ModelError, match="it is a DoRA, and the model is held in 8 or 4")
        with refused, applied(session, decomposed):
            pass
    assert np.array_equal(draw(session), plain)
    session.close()
