"""From a photograph's colours to sRGB: its profile, its grey levels, its transparency."""

from __future__ import annotations

import io
from functools import lru_cache
from itertools import chain, product

import numpy as np
from PIL import Image, ImageChops, ImageCms

from avatar_pipeline.imaging.nclx import Colours, to_srgb

NCLX = "nclx"  # the key in `info` under which decoding leaves Colours

# What shows through transparent pixels: the grey studio background that the prompts ask for. White
# would pull up every exposure measure, and halos around cut-out hair.
BACKDROP = (128, 128, 128)
# Levels (of 255) by which a profile may move a colour and still count as sRGB: the curves of
# profiles of that name differ by their rounding.
SAME = 2


def flatten(image: Image.Image) -> Image.Image:
    """Return RGB pixels in sRGB, transparency laid onto BACKDROP. At 50 megapixels a copy has 200
    MB: what is no longer needed goes first.

    image: of any mode; its `info` may hold "icc_profile" or NCLX.
    """
    profile, colours = image.info.get("icc_profile"), image.info.get(NCLX)
    alpha = None
    if image.mode.startswith("I"):
        alpha = _alpha_of_16_bit(image)
        image = _to_8_bit(image)
    elif image.has_transparency_data:
        grey = image.mode in ("L", "LA", "La", "1")
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        # a grey picture stays one, for its profile is of grey levels
        image = image.getchannel("R") if grey else image
    if image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    if profile:
        image = _apply(image, profile)
    if image.mode != "RGB":
        image = image.convert("RGB")
    if colours is not None and not profile and not colours.is_srgb:
        image = to_srgb(image, Colours(*colours))
    if alpha is not None:
        image.paste(BACKDROP, mask=ImageChops.invert(alpha))
    return image


def _alpha_of_16_bit(image: Image.Image) -> Image.Image | None:
    """Return the alpha of 16-bit grey, of which one level may be transparent; None when none is."""
    level = image.info.get("transparency")
    if not isinstance(level, int):
        return None
    return Image.fromarray(np.where(np.asarray(image) == level, 0, 255).astype(np.uint8))


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Convert 16-bit grey, 0-65535, as 8-bit grey; Pillow's own conversion would clip instead of
    scale. In strips, to save memory.
    """
    strips = [
        np.asarray(image.crop((0, y, image.width, min(y + 256, image.height))))
        for y in range(0, image.height, 256)
    ]
    return Image.fromarray(
        np.concatenate(
            [
                (strip.astype(np.float32) / 257.0).round().clip(0, 255).astype(np.uint8)
                for strip in strips
            ]
        )
    )


def _apply(image: Image.Image, profile: bytes) -> Image.Image:
    """Return the colours of an RGB, grey or CMYK picture, taken from its profile to sRGB. Viewers
    ignore a useless profile: so do we.
    """
    if image.mode == "RGB" and _is_srgb(profile):
        return image  # nearly every photograph: skip a conversion that would only add rounding
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if image.mode == "RGB" and source.profile.xcolor_space == "GRAY":
            # a grey AVIF, which comes as RGB
            red, *others = image.split()
            if any(ImageChops.difference(red, other).getbbox() for other in others):
                return image
            image = red
        converted = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        return image
    return image if converted is None else converted


@lru_cache(maxsize=32)
def _is_srgb(profile: bytes) -> bool:
    """Return whether an RGB profile leaves the colours as they are: asked of a grid of colours and
    of all greys, and not of its name.
    """
    levels = range(0, 256, 51)
    grid = [*product(levels, repeat=3), *((grey,) * 3 for grey in range(256))]
    colours = Image.frombytes("RGB", (len(grid), 1), bytes(chain.from_iterable(grid)))
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            *("RGB", "RGB"),
            # a thousand pixels are sooner converted than the conversion is optimised
            flags=ImageCms.Flags.NOOPTIMIZE,
        )
        seen = ImageCms.applyTransform(colours, transform)
    except (ImageCms.PyCMSError, OSError):
        return False
    if seen is None:
        return False
    moved = ImageChops.difference(seen, colours)
    return max(moved.tobytes()) <= SAME
