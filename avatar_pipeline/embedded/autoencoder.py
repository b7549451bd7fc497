"""The embedded model's autoencoder: a linear patch code, and a decoder that learned what such codes leave out.

Encoder: principal components of 16x16x3 patches, partially whitened, so latents are 1/16 of the picture a side with 48 channels.
Decoder: the encoder's inverse plus a residual network on the latents. A learned encoder of this quality needs hours on a GPU; this
one is computed in a minute.
"""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from torch import nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip connection; (N, C, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(16, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(nn.functional.silu(self.conv1(nn.functional.silu(self.norm(x)))))


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """Autoencoder in the shape that diffusers' Stable Diffusion pipelines expect of a VAE.

    Pictures are (N, 3, H, W) in [-1, 1] with H and W multiples of 16; latents are (N, 48, H/16, W/16) of unit variance.
    `block_out_channels` has five entries only so that pipelines compute a scale factor of 16.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 48,
        patch_size: int = 16,
        width: int = 192,
        fine_width: int = 96,
        blocks: int = 3,
        scaling_factor: float = 1.0,
        force_upcast: bool = False,
        block_out_channels: tuple[int, ...] = (1, 1, 1, 1, 1),
    ) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, latent_channels, patch_size, stride=patch_size)
        self.decoder = nn.ConvTranspose2d(latent_channels, 3, patch_size, stride=patch_size)
        last = nn.Conv2d(fine_width, 3 * (patch_size // 2) ** 2, 3, padding=1)
        for parameter in last.parameters():  # untrained, the decoder is exactly the encoder's inverse
            nn.init.zeros_(parameter)
        self.residual = nn.Sequential(
            nn.Conv2d(latent_channels, width, 3, padding=1),
            *(ResidualBlock(width) for _ in range(blocks)),
            nn.Conv2d(width, fine_width * 4, 3, padding=1),
            nn.PixelShuffle(2),
            *(ResidualBlock(fine_width) for _ in range(blocks)),
            last,
            nn.PixelShuffle(patch_size // 2),
        )

    def encode(self, x: torch.Tensor, return_dict: bool = True) -> AutoencoderTinyOutput | tuple[torch.Tensor]:
        """Latents of pictures; there is no sampling, the code is deterministic."""
        latents = self.encoder(x)
        return AutoencoderTinyOutput(latents=latents) if return_dict else (latents,)

    def decode(
        self, latents: torch.Tensor, generator: torch.Generator | None = None, return_dict: bool = True
    ) -> DecoderOutput | tuple[torch.Tensor]:
        """Pictures of latents. `generator` is accepted because pipelines pass one; nothing is drawn."""
        pictures = self.decoder(latents) + self.residual(latents)
        return DecoderOutput(sample=pictures) if return_dict else (pictures,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        latents: torch.Tensor = self.encoder(x)
        return self.decoder(latents) + self.residual(latents)
