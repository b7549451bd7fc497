"""The two networks of the DCGAN (Radford et al. 2016): a generator of transposed convolutions, a
discriminator of strided ones.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from avatar_pipeline.cartoons.attributes import LATENTS, PIXELS, Size

# Channels from the coarsest level to the finest but the last. 0.5 M numbers a generator: 1 MB in
# half precision.
GENERATOR_CHANNELS = (128, 96, 64, 48, 24)
DISCRIMINATOR_CHANNELS = (24, 48, 64, 96, 128)
LEVELS = len(GENERATOR_CHANNELS)


class Generator(nn.Module):
    """What the latents choose -> pictures: (n, latent size) of zeros and ones -> (n, 4, pixels,
    pixels), premultiplied RGBA, -1 to 1.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.start = PIXELS[size] // 2**LEVELS
        widths = GENERATOR_CHANNELS
        self.project = nn.Linear(LATENTS[size], widths[0] * self.start**2, bias=False)
        self.first = nn.BatchNorm2d(widths[0])
        layers: list[nn.Module] = []
        for wide, narrow in pairwise(widths):
            layers += [
                nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False),
                nn.BatchNorm2d(narrow),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], 4, 4, 2, 1), nn.Tanh())
        self.apply(_initialize)

    def forward(self, hot: Tensor) -> Tensor:
        coarse = self.project(hot).unflatten(1, (-1, self.start, self.start))
        return self.layers(torch.relu(self.first(coarse)))


class Discriminator(nn.Module):
    """A picture and what it should show -> a logit, above 0 for real: spectral normalization in
    every layer (Miyato et al. 2018), and the attributes enter as a projection onto the last
    features (Miyato and Koyama 2018).
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        widths = (4, *DISCRIMINATOR_CHANNELS)
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [spectral_norm(nn.Conv2d(narrow, wide, 4, 2, 1)), nn.LeakyReLU(0.2)]
        features = widths[-1] * (PIXELS[size] // 2**LEVELS) ** 2
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.real = spectral_norm(nn.Linear(features, 1))
        self.shown = spectral_norm(nn.Linear(LATENTS[size], features, bias=False))

    def forward(self, pictures: Tensor, hot: Tensor) -> Tensor:
        features = self.layers(pictures)
        return self.real(features).squeeze(1) + (self.shown(hot) * features).sum(1)


def _initialize(module: nn.Module) -> None:
    """Initialize as in the DCGAN paper: weights from N(0, 0.02), batch norm's scale from N(1,
    0.02).
    """
    if isinstance(module, nn.Linear | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
