"""The ways of computing a training step that are fast on a CPU give the same gradients."""

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from avatar_pipeline.diffusion.lora import ADAPTER
from avatar_pipeline.diffusion.training.attention import attention
from avatar_pipeline.diffusion.training.effective_weights import use_effective_weights


@pytest.mark.parametrize("words", [64, 21])
def test_attention_and_its_gradient_are_those_of_pytorchs(words: int) -> None:
    random = torch.Generator().manual_seed(3)
    query = torch.randn(2, 3, 64, 16, generator=random)
    key, value = torch.randn(2, 2, 3, words, 16, generator=random)
    given = torch.randn(2, 3, 64, 16, generator=random)

    def gradients(ours: bool) -> list[torch.Tensor]:
        q, k, v = (one.clone().requires_grad_() for one in (query, key, value))
        with sdpa_kernel(SDPBackend.MATH):
            out = attention(q, k, v) if ours else scaled_dot_product_attention(q, k, v)
        return [out.detach(), *torch.autograd.grad(out, (q, k, v), given)]

    for one, other in zip(gradients(True), gradients(False), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_attention_without_gradients_is_pytorchs_to_the_bit() -> None:
    query, key, value = torch.randn(3, 2, 3, 64, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = scaled_dot_product_attention(query, key, value)
        assert torch.equal(attention(query, key, value), expected)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.second = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.second(self.first(x).mean((2, 3)))
        return out


@pytest.mark.parametrize("dora", [False, True])
def test_effective_weights_give_the_outputs_and_gradients_of_adapters(dora: bool) -> None:
    torch.manual_seed(4)
    config = LoraConfig(
        r=2,
        lora_alpha=3,
        target_modules=["first", "second"],
        init_lora_weights=False,
        use_dora=dora,
    )
    model = inject_adapter_in_model(config, Small(), adapter_name=ADAPTER)
    x = torch.randn(2, 3, 8, 8)
    learned = [one for name, one in model.named_parameters() if "lora_" in name]
    for one in learned:
        one.requires_grad_(True)

    def results() -> list[torch.Tensor]:
        out = model(x)
        return [out.detach(), *torch.autograd.grad(out.square().sum(), learned)]

    expected = results()
    assert use_effective_weights(model) == (0 if dora else 2)  # DoRA stays as PEFT computes it
    for one, other in zip(results(), expected, strict=True):
        assert torch.allclose(one, other, atol=1e-4, rtol=1e-4)
    for layer in (model.first, model.second):
        layer.merge()
    assert torch.allclose(model(x), expected[0], atol=1e-4)
