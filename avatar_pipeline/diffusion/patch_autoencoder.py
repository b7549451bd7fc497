"""The embedded model's autoencoder: an overlapping linear patch code, and a decoder that learned
what such codes leave out.

Encoder: 80 filters of 32x32 pixels every 16 pixels, which start as the principal components of
16x16 patches and grow over their borders in training, so that neighbouring cells agree and no grid
shows. Decoder: the linear way back plus a residual network on the latents. A deeper encoder was
tried and gained less than 0.1 dB in the same minutes of CPU.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from torch import nn
from torch.nn import functional

from avatar_pipeline.diffusion.flat_area_filter import calm


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip connection; (N, C, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(16, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(functional.silu(self.conv1(functional.silu(self.norm(x)))))


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """Autoencoder in the shape that diffusers' Stable Diffusion pipelines expect of a VAE.

    Pictures are (N, 3, H, W) in [-1, 1] with H and W multiples of 16; latents are (N, 80, H/16,
    W/16) of unit variance on average. `widths` are the residual network's channels at 1, 2 and 4
    positions a latent cell's side. `block_out_channels` has five entries only so that pipelines
    compute a scale factor of 16.

    takes_autocast: it keeps those layers in full precision itself that need it (to_pictures).
    """

    takes_autocast = True

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 80,
        patch_size: int = 16,
        widths: tuple[int, int, int] = (192, 96, 48),
        scaling_factor: float = 1.0,
        force_upcast: bool = False,
        block_out_channels: tuple[int, ...] = (1, 1, 1, 1, 1),
    ) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(
            3,
            latent_channels,
            2 * patch_size,
            stride=patch_size,
            padding=patch_size // 2,
            padding_mode="replicate",
        )
        self.decoder = nn.ConvTranspose2d(
            latent_channels, 3, 2 * patch_size, stride=patch_size, padding=patch_size // 2
        )
        coarse, middle, fine = widths
        last = nn.Conv2d(fine, 3 * (patch_size // 4) ** 2, 3, padding=1)
        for parameter in last.parameters():  # untrained, the decoder is exactly the linear code's
            nn.init.zeros_(parameter)
        self.residual = nn.Sequential(
            nn.Conv2d(latent_channels, coarse, 3, padding=1),
            ResidualBlock(coarse),
            ResidualBlock(coarse),
            nn.Conv2d(coarse, 4 * middle, 1),
            nn.PixelShuffle(2),
            ResidualBlock(middle),
            ResidualBlock(middle),
            nn.Conv2d(middle, 4 * fine, 1),
            nn.PixelShuffle(2),
            ResidualBlock(fine),
            ResidualBlock(fine),
            last,
            nn.PixelShuffle(patch_size // 4),
        )

    def encode(
        self, x: torch.Tensor, return_dict: bool = True
    ) -> AutoencoderTinyOutput | tuple[torch.Tensor]:
        """Latents of pictures; there is no sampling, the code is deterministic."""
        # An image-to-image pipeline hands over pictures in its text encoder's precision, which may
        # be a lower one.
        latents = (
            self.encoder(x) if x.dtype == self.dtype else self.encoder(x.to(self.dtype)).to(x.dtype)
        )
        return AutoencoderTinyOutput(latents=latents) if return_dict else (latents,)

    def decode(
        self,
        latents: torch.Tensor,
        generator: torch.Generator | None = None,
        return_dict: bool = True,
    ) -> DecoderOutput | tuple[torch.Tensor]:
        """Pictures of latents, without the grain that the denoiser leaves in walls (calm).

        `generator` is accepted because pipelines pass one; nothing is drawn.
        """
        pictures = self.to_pictures(calm(latents))
        return DecoderOutput(sample=pictures) if return_dict else (pictures,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.to_pictures(self.encoder(x))

    def to_pictures(self, latents: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) pictures of exactly these latents.

        What the residual network adds is small, so that a lower precision, which autocast may
        give it, does not show: it changes no channel by a whole level of 8 bits. The linear code
        is never computed in one: flat walls would show steps.
        """
        residual = self.residual(latents.contiguous(memory_format=torch.channels_last))
        pictures: torch.Tensor = self._linear(latents) + residual
        return pictures

    def _linear(self, latents: torch.Tensor) -> torch.Tensor:
        """The linear decoder. The outermost cells have neighbours beyond the picture too: the
        filters overlap there as well.

        One product of matrices and a sum of overlapping patches: the same as calling the
        transposed convolution, which takes three times as long on a CPU.
        """
        size, decoder = self.config["patch_size"], self.decoder
        padded = functional.pad(latents, (1, 1, 1, 1), mode="replicate")
        height, width = (cells * size for cells in padded.shape[2:])
        # there is no autocast on the meta device, where sizes are counted
        device = latents.device.type
        with nullcontext() if device == "meta" else torch.autocast(device, enabled=False):
            patches = decoder.weight.flatten(1).T @ padded.flatten(2)
            pictures: torch.Tensor = functional.fold(
                patches, (height, width), 2 * size, padding=size // 2, stride=size
            )
        assert decoder.bias is not None
        return pictures[..., size:-size, size:-size] + decoder.bias.view(-1, 1, 1)
