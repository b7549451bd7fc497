"""A cartoon as it leaves the house: a PNG with its content credentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avatar_pipeline.cartoons import generator
from avatar_pipeline.cartoons.attributes import Size, chosen, described, draw_latents
from avatar_pipeline.imaging import encode_png

Renderer = Literal["gan", "dicebear"]

COMPRESSION = 4  # half the time of the house's 6, for pictures that are half a percent larger


@dataclass(frozen=True)
class Cartoon:
    """png: signed. model, model_sha256: what drew it; for DiceBear its style."""

    png: bytes
    model: str
    model_sha256: str


def credited_cartoon(seed: int, size: Size, renderer: Renderer = "gan", transparent: bool = False) -> Cartoon:
    """Draw the cartoon of a seed by one of the renderers and sign it: RGBA with straight alpha when transparent, else RGB on white.

    Raises ModelError when the generator's weights are missing or damaged.
    """
    from avatar_pipeline.provenance.credentials import Origin, sign

    if renderer == "gan":
        image, model, model_sha256 = generator.draw(seed, size), f"cartoon_gan_{size}", generator.weights(size).sha256
    else:
        from avatar_pipeline.cartoons import drawing

        image = drawing.draw(described(chosen(draw_latents(size, 1, seed), size)[0], size), size)
        model, model_sha256 = f"dicebear_{drawing.STYLE.replace('-', '_')}", drawing.style_sha256()
    png = encode_png(image if transparent else generator.on_white(image), COMPRESSION)
    source = "trainedAlgorithmicMedia" if renderer == "gan" else "algorithmicMedia"
    origin = Origin(model=model, model_sha256=model_sha256, seed=seed, lora_sha256=None, ingredients={}, source=source)
    return Cartoon(sign(png, origin), model, model_sha256)
