"""What differs between model families beyond numbers: one module each, all with the functions of
`Family`.

Latents are (N, C, h, w) float32, one cell for 8x8 pixels (16x16 in the embedded model and FLUX.2),
scaled to about unit variance, on the outside of every family; that FLUX.1 packs 2x2 cells into one
token stays within its module. Timesteps are the 0-1000 of training, for flow models too.
`PromptEmbeds` are the text embeddings by the names of the pipelines' arguments, each (N, tokens,
...); where prompts are of unequal length, `prompt_embeds_mask` (N, tokens) is 1 for a prompt's own
tokens.

A guidance scale means the same in every family: the prediction is negative + scale * (prompt -
negative), and 1 is no guidance; each module translates it for its pipeline. FLUX.1 alone has
another meaning, the number that dev was distilled with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

if TYPE_CHECKING:
    import torch
    from PIL import Image

FamilyName = Literal["sd", "sdxl", "flux", "flux2", "z_image", "qwen_image"]
PromptEmbeds = Mapping[str, "torch.Tensor"]


@dataclass(frozen=True)
class Start:
    """How a drawing starts from a picture. strength: 0-1, the share of noise, and of the `steps`,
    that it starts from. seed: of that noise, uint32.
    """

    strength: float
    steps: int
    seed: int


class Family(Protocol):
    """The functions of a family's module.

    PIPELINE: name of the diffusers class for text-to-image. DENOISER: the pipeline's part that is
    trained. TEXT_ENCODERS: its parts that read the prompt. REDRAWS: whether diffusers has another
    class of the family that redraws a picture by its steps from some strength on; otherwise
    PIPELINE does, from noisy latents.
    """

    PIPELINE: str
    DENOISER: str
    TEXT_ENCODERS: tuple[str, ...]
    REDRAWS: bool

    def encode_prompt(self, pipeline: Any, prompt: str) -> PromptEmbeds:
        """Return text embeddings of one prompt of any length, each tensor (1, ...). Raises
        GenerationError for one that cannot be read whole.
        """

    def encode_negative(self, pipeline: Any, prompt: str) -> PromptEmbeds:
        """Return text embeddings of what not to draw, as encode_prompt gives them; an empty prompt
        is what the family takes for none.
        """

    def pooled_part(self, pipeline: Any, prompt: str) -> str:
        """Return what a pooled vector says of a prompt, the beginning of a long one; all of it
        where the family has no pooled vector.
        """

    def is_guided(self, pipeline: Any, guidance_scale: float, negative_prompt: str) -> bool:
        """Return whether each step asks the denoiser twice, with the prompt and with the negative
        prompt.
        """

    def is_distilled(self, pipeline: Any) -> bool:
        """Return whether the model's own configuration says that it is distilled, and no LoRA can
        be trained on it.
        """

    def prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, Any]:
        """Return the pipeline's arguments for text embeddings, those of negative prompts by names
        with `negative_` before.
        """

    def guidance(self, guidance_scale: float, guided: bool) -> dict[str, Any]:
        """Return the pipeline's arguments for a guidance scale."""

    def start_image(self, pipeline: Any, image: Image.Image, start: Start) -> dict[str, Any]:
        """Return the arguments of the pipeline that redraws, for a picture: its latents, where it
        knows latents when it sees them.
        """

    def drawn_steps(self, steps: int, strength: float) -> int:
        """Return how many of `steps` are drawn from a picture at this share of noise."""

    def encode_pixels(self, pipeline: Any, pixels: torch.Tensor) -> torch.Tensor:
        """Latents (N, C, h, w) float32 of pictures (N, 3, H, W) in [-1, 1]. The distribution's
        mode: nothing is drawn.
        """

    def decode_latents(self, pipeline: Any, latents: torch.Tensor) -> torch.Tensor:
        """Pictures (N, 3, H, W) float32, about [-1, 1], of latents (N, C, h, w)."""

    def unpack(self, pipeline: Any, latents: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Latents (N, C, h, w) of what the pipeline holds while it draws pictures of `height` x
        `width` pixels.
        """

    def image_tokens(self, latents: torch.Tensor) -> int:
        """Return how many tokens the denoiser sees of latents (N, C, h, w), by which samplers
        shift noise levels.
        """

    def predict(
        self,
        denoiser: Any,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        prompt_embeds: PromptEmbeds,
        frames: torch.Tensor,
    ) -> torch.Tensor:
        """Return what the denoiser says of noisy latents (N, C, h, w) at timesteps (N,): noise,
        velocity, as it was trained; same shape.

        frames: (N, 4), each picture's height and width before it was scaled, and the top and left
        of its crop in the scaled picture.
        """


def get_family(name: FamilyName) -> Family:
    """Import the module of a family, torch with it."""
    return cast(Family, import_module(f"{__name__}.{name}"))
