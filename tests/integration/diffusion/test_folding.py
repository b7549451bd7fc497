"""A LoRA folded into the weights: drawn as its adapters are, and gone to the bit afterwards."""

from pathlib import Path

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from avatar_pipeline.diffusion.folding import folded, unfolded
from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.session import PipelineSession
from tests.support.loras import make_lora


def weights(session: PipelineSession) -> dict[str, torch.Tensor]:
    return {
        name.replace(".base_layer", ""): value.clone()
        for name, value in session.denoiser.state_dict().items()
        if "lora_" not in name
    }


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_weights_come_back_to_the_bit_also_after_an_error(each_session: PipelineSession) -> None:
    before = weights(each_session)
    with applied(each_session, make_lora(each_session.model)):
        layers = [one for one in each_session.denoiser.modules() if isinstance(one, BaseTunerLayer)]
        assert layers and all(layer.merged for layer in layers)
        assert not same(before, weights(each_session))
        with unfolded(each_session.denoiser):
            assert same(before, weights(each_session))
            assert not any(layer.merged for layer in layers)
        assert all(layer.merged for layer in layers)
    assert same(before, weights(each_session))
    with (
        pytest.raises(RuntimeError, match="in the middle"),
        applied(each_session, make_lora(each_session.model)),
    ):
        raise RuntimeError("in the middle")
    assert same(before, weights(each_session))


def test_what_is_folded_computes_what_the_adapters_do(sd_session: PipelineSession) -> None:
    unet = sd_session.denoiser
    torch.manual_seed(1)
    noise = torch.randn(2, unet.config.in_channels, 8, 8)
    words = torch.randn(2, 7, unet.config.cross_attention_dim)

    def predicted() -> torch.Tensor:
        with torch.no_grad():
            out: torch.Tensor = unet(noise, torch.tensor(300), words, return_dict=False)[0]
        return out

    plain = predicted()
    with applied(sd_session, make_lora(sd_session.model)):
        once = predicted()
        with unfolded(unet):
            adapters = predicted()
        with folded(unet):  # it is so already
            assert torch.equal(predicted(), once)
    assert not torch.allclose(plain, once, atol=1e-3)
    assert torch.allclose(adapters, once, atol=1e-5)
    assert torch.equal(predicted(), plain)


def test_a_part_without_adapters_stays_as_it_is(sd_session: PipelineSession) -> None:
    before = weights(sd_session)
    with folded(sd_session.denoiser):
        assert same(before, weights(sd_session))


def test_layers_in_eight_bits_keep_their_adapters(
    sd_session: PipelineSession, tmp_path: Path
) -> None:
    lora = make_lora(sd_session.model)
    kept = {}
    with applied(sd_session, lora), unfolded(sd_session.denoiser):
        for module in sd_session.denoiser.modules():
            if isinstance(module, BaseTunerLayer):
                weight = module.get_base_layer().weight
                kept[module] = weight.data
                weight.data = weight.data.to(torch.float8_e4m3fn)
        with folded(sd_session.denoiser):
            assert not any(module.merged for module in kept)
        for module, value in kept.items():
            module.get_base_layer().weight.data = value
