"""LoRAs from outside: which are taken, which are refused, and that the session is afterwards as
before.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.lora import ADAPTER, applied
from avatar_pipeline.diffusion.memory import Plan
from tests.support.loras import ALPHA, RANK, as_kohya, make_lora
from tests.unit.diffusion.test_loading import LARGE, draw, tiny_session


@pytest.fixture(scope="module")
def loras(tiny_models: dict[str, Path]) -> dict[str, bytes]:
    """A LoRA by preset. FLUX.2's first blocks have FLUX.1's names: its others tell them apart."""
    attention = ("to_q", "to_k", "to_v", "to_out.0")
    more = {"flux2-klein": ("to_qkv_mlp_proj",)}
    return {
        name: make_lora(folder, (*attention, *more.get(name, ())))
        for name, folder in tiny_models.items()
    }


@pytest.mark.parametrize("name", LARGE)
def test_both_formats_of_every_family_with_their_alpha(
    tiny_models: dict[str, Path], loras: dict[str, bytes], name: str
) -> None:
    session = tiny_session(tiny_models, name)
    plain = draw(session)
    with applied(session, loras[name]):
        config = session.denoiser.peft_config[ADAPTER]
        assert (config.r, config.lora_alpha) == (RANK, ALPHA)
        taught = draw(session)
    assert not np.array_equal(taught, plain)
    with applied(session, as_kohya(loras[name])):
        assert draw(session) == pytest.approx(taught, abs=1e-6)
    assert np.array_equal(draw(session), plain)
    assert not getattr(session.denoiser, "peft_config", {})


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize(
    ("offload", "quantization"),
    [("model", "none"), ("group", "none"), ("none", "fp8"), ("group", "fp8")],
)
def test_under_every_memory_plan(
    tiny_models: dict[str, Path],
    loras: dict[str, bytes],
    name: str,
    offload: str,
    quantization: str,
) -> None:
    session = tiny_session(tiny_models, name)
    with applied(session, loras[name]):
        taught = draw(session)
    _ = session.image_pipeline
    session.loaded.hold(Plan(offload, quantization, False, 1.0, 1.0), session.log)  # type: ignore[arg-type]
    plain = draw(session)
    with applied(session, loras[name]):
        assert draw(session) == pytest.approx(taught, abs=1e-5 if quantization == "none" else 0.2)
        stored = {
            str(weights.dtype)
            for key, weights in session.denoiser.named_parameters()
            if "lora_" in key
        }
        assert stored == {"torch.float32"}  # never in 8 bits
    assert np.array_equal(draw(session), plain)


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("other", LARGE)
def test_another_familys_lora_is_refused(
    tiny_models: dict[str, Path], loras: dict[str, bytes], name: str, other: str
) -> None:
    if name == other:
        return
    session = tiny_session(tiny_models, name)
    plain = draw(session)
    for weights in (loras[other], as_kohya(loras[other])):
        refused = pytest.raises(
            ModelError,
            match=r"LoRA (does not fit the model|is one "
            r"for).*LoRA of this preset's family",
        )
        with refused, applied(session, weights):
            pass
    assert np.array_equal(draw(session), plain)
    assert not getattr(session.denoiser, "peft_config", {})


def unet_lora(
    width: int,
    key: str = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",
    **metadata: str,
) -> bytes:
    tensors = {
        f"{key}.lora_A.weight": np.zeros((4, width), np.float32),
        f"{key}.lora_B.weight": np.zeros((32, 4), np.float32),
    }
    return save(tensors, metadata or None)


@pytest.mark.parametrize(
    ("weights", "preset", "words"),
    [
        (unet_lora(2048), "sd15", "is one for SDXL, and preset sd15 is Stable Diffusion 1.5"),
        (unet_lora(768), "sdxl", "is one for Stable Diffusion 1.5, and preset sdxl is SDXL"),
        (unet_lora(64, ss_base_model_version="sdxl_base_v1-0"), "sd15", "is one for SDXL"),
        (
            unet_lora(32, **{"modelspec.architecture": "flux-1-dev/lora"}),
            "sd15",
            "is one for FLUX.1",
        ),
        (
            unet_lora(64, key="lora_te2_text_model_encoder_layers_0_self_attn_k_proj"),
            "sd15",
            "is one for SDXL",
        ),
        (unet_lora(64, key="lora_unet_double_blocks_0_img_attn_proj"), "sdxl", "is one for FLUX.1"),
        (unet_lora(32, key="unet.no_such_layer"), "sd15", "does not fit"),
        (unet_lora(32, key="something.else"), "sd15", "none of its"),
        (
            save({"weight": np.zeros(4, np.float32)}),
            "sd15",
            "the file is no LoRA: none of its 1 tensors",
        ),
    ],
)
def test_what_names_and_metadata_tell(
    tiny_models: dict[str, Path], weights: bytes, preset: str, words: str
) -> None:
    session = tiny_session(tiny_models, preset)
    with pytest.raises(ModelError, match=words), applied(session, weights):
        pass
    assert not getattr(session.denoiser, "peft_config", {})


def test_a_lora_of_which_only_a_part_fits_is_refused(
    tiny_models: dict[str, Path], loras: dict[str, bytes]
) -> None:
    from safetensors.numpy import load

    tensors = load(loras["sd15"])
    name = next(key for key in tensors if "mid_block" in key and "lora_A" in key)
    extra = {name.replace("mid_block", "mid_block.more"): tensors[name].copy()}
    extra |= {
        key.replace("lora_A", "lora_B"): tensors[name.replace("lora_A", "lora_B")].copy()
        for key in list(extra)
    }
    session = tiny_session(tiny_models, "sd15")
    plain = draw(session)
    with pytest.raises(ModelError, match=r"does not fit"), applied(session, save(tensors | extra)):
        pass
    assert np.array_equal(draw(session), plain)


def pickled() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
    return buffer.getvalue()


def test_files_that_are_damaged_or_pickles(
    tiny_models: dict[str, Path], loras: dict[str, bytes]
) -> None:
    session = tiny_session(tiny_models, "sd15")
    for weights, words in {
        b"\x80\x04\x95": "is a pickle, which can run any code",
        pickled(): "is a pickle",
        loras["sd15"][:-1]: "is damaged: it is cut off",
        loras["sd15"][:100]: "is damaged: it has no safetensors header",
        b"": "is damaged",
        b"\x10\0\0\0\0\0\0\0{not json at all}": "is damaged",
    }.items():
        with pytest.raises(ModelError, match=words), applied(session, weights):
            pass
    assert "pipeline" not in vars(session)  # nothing had to be loaded to see that


@pytest.mark.parametrize("name", LARGE)
def test_what_raises_in_the_block_leaves_the_session_as_before(
    tiny_models: dict[str, Path], loras: dict[str, bytes], name: str
) -> None:
    session = tiny_session(tiny_models, name)
    plain = draw(session)
    with pytest.raises(KeyError, match="mine"), applied(session, loras[name]):
        raise KeyError("mine")
    assert np.array_equal(draw(session), plain)
    assert not getattr(session.denoiser, "peft_config", {})
    with applied(session, loras[name]):
        assert not np.array_equal(draw(session), plain)


def test_a_session_that_shares_weights_shares_the_lora(
    tiny_models: dict[str, Path], loras: dict[str, bytes]
) -> None:
    session = tiny_session(tiny_models, "sd15")
    other = replace(session, preset=replace(session.preset, steps=3))
    plain = draw(session)
    with applied(other, loras["sd15"]):
        assert not np.array_equal(draw(session), plain)
    assert other.pipeline is session.pipeline
