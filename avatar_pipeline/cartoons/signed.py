"""A cartoon as it leaves the house: a PNG with its content credentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avatar_pipeline.cartoons import dicebear as drawing
from avatar_pipeline.cartoons import generator
from avatar_pipeline.cartoons.attributes import Size, chosen, described, draw_latents
from avatar_pipeline.content_credentials.sign import Origin, sign
from avatar_pipeline.imaging.images import encode_png

Renderer = Literal["gan", "dicebear"]

COMPRESSION = 4  # half the time of the house's 6, for files that are two percent larger


@dataclass(frozen=True)
class Cartoon:
    """png: signed. origin: what drew it; for DiceBear its style."""

    png: bytes
    origin: Origin


def credited_cartoon(
    seed: int, size: Size, renderer: Renderer = "gan", transparent: bool = False
) -> Cartoon:
    """Draw the cartoon of a seed by one of the renderers and sign it: RGBA with straight alpha when
    transparent, else RGB on white.

    Raises ModelError when the generator's weights are missing or damaged, CredentialsError when
    there is nothing usable to sign with.
    """
    if renderer == "gan":
        image = generator.draw(seed, size)
        origin = Origin(
            f"cartoon_gan_{size}", generator.weights(size).sha256, seed, "trainedAlgorithmicMedia"
        )
    else:
        image = drawing.draw(described(chosen(draw_latents(size, 1, seed), size)[0], size), size)
        origin = Origin(
            f"dicebear_{drawing.STYLE.replace('-', '_')}",
            drawing.style_sha256(),
            seed,
            "algorithmicMedia",
        )
    png = encode_png(image if transparent else generator.on_white(image), COMPRESSION)
    return Cartoon(sign(png, origin), origin)
