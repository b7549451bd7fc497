"""Grain is taken out of flat parts of drawn latents, and out of nothing else."""

import torch

from avatar_pipeline.diffusion.flat_area_filter import COLOURS, calm
from avatar_pipeline.diffusion.patch_autoencoder import PatchAutoencoder


def _drawn(noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A wall whose light changes from left to right, hair in its right third; without and with the
    denoiser's error. (2, 80, 24, 32).
    """
    generator = torch.Generator().manual_seed(3)
    clean = torch.zeros(2, 80, 24, 32)
    clean[:, 0] = torch.linspace(-1, 0.5, 32)
    clean[..., 22:] += torch.randn(2, 80, 24, 10, generator=generator)
    return clean, clean + noise * torch.randn(clean.shape, generator=generator)


def test_walls_lose_most_of_their_grain_and_hair_stays_as_it_is() -> None:
    clean, drawn = _drawn(0.17)
    result = calm(drawn)
    wall, hair = slice(0, 22), slice(22, 32)
    error = (result - clean)[..., wall]
    assert error[:, COLOURS:].std() < 0.3 * 0.17
    assert error[:, 0].abs().mean() < 0.5 * (drawn - clean)[:, 0, :, wall].abs().mean(), (
        "the light's slope stays"
    )
    assert error[..., 0, :].std() < 0.5 * 0.17, "the picture's edge too"
    assert (result - drawn)[..., hair].abs().max() < 0.02


def test_latents_of_photographs_are_not_touched() -> None:
    _, photograph = _drawn(0.05)
    assert calm(photograph) is photograph


def test_a_picture_without_flat_parts_stays_as_it_is() -> None:
    latents = torch.randn(1, 80, 16, 16, generator=torch.Generator().manual_seed(1))
    assert (calm(latents) - latents).abs().max() < 0.02


def test_decoding_calms_walls() -> None:
    code = PatchAutoencoder()
    _, drawn = _drawn(0.17)
    with torch.no_grad():
        assert torch.equal(calm(calm(drawn)), calm(drawn)), "what is calm stays as it is"
        assert torch.equal(code.decode(drawn).sample, code.decode(calm(drawn)).sample)
