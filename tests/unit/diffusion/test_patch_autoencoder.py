"""The embedded model's decoder: the same pictures by a faster way, and in a lower precision."""

import torch
from torch.nn import functional

from avatar_pipeline.diffusion.patch_autoencoder import PatchAutoencoder
from avatar_pipeline.diffusion.presets import EMBEDDED_MODEL


def shipped() -> PatchAutoencoder:
    model: PatchAutoencoder = PatchAutoencoder.from_pretrained(EMBEDDED_MODEL / "vae")
    return model


def test_decoding_is_the_transposed_convolution_and_the_residual_network() -> None:
    model = shipped()
    latents = torch.randn(2, 80, 6, 9, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = (
            model.residual(latents)
            + model.decoder(functional.pad(latents, (1, 1, 1, 1), mode="replicate"))[
                ..., 16:-16, 16:-16
            ]
        )
        decoded = model.to_pictures(latents)
    assert decoded.shape == (2, 3, 96, 144)
    assert (decoded - expected).abs().max() < 1e-5


def test_a_lower_precision_changes_no_channel_by_more_than_one_level() -> None:
    model = shipped()
    slope = torch.linspace(-0.6, 0.8, 256).expand(1, 3, 128, 256)  # a wall in light from one side
    with torch.no_grad():
        latents = model.encode(slope, return_dict=False)[0]
        whole = model.decode(latents, return_dict=False)[0]
        with torch.autocast("cpu", torch.bfloat16):
            lower = model.decode(latents, return_dict=False)[0]
    assert not torch.equal(lower, whole), "the residual network computes in less"
    assert lower.dtype == torch.float32
    assert ((lower - whole) * 127.5).abs().max() < 0.5
