"""What a latent vector means: which attributes the cartoon has.

Every attribute (the head with its hair, the expression, the colour of the skin...) owns a block of
the latent vector, one number for each of its choices, and the largest number of the block is what
is drawn. An optional attribute, such as a beard, is drawn only where its largest number exceeds a
threshold. So a vector of standard normal numbers, like that of any GAN, is also a description, and
DiceBear can draw the very cartoon that the generator is asked for: that is what the generator
learns from.

Names and colours: the definition of the style Open Peeps in dicebear-styles 10.6 (by Pablo Stanley,
CC0 1.0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist
from typing import Literal

import numpy as np

Size = Literal["small", "large"]

SIZES: tuple[Size, ...] = ("small", "large")
PIXELS: Mapping[Size, int] = {"small": 96, "large": 128}
LATENTS: Mapping[Size, int] = {"small": 100, "large": 128}


def _names(text: str) -> list[str]:
    return text.split()


HEADS = _names(
    "afro bangs bangs2 bantuKnots bun bun2 buns cornrows cornrows2 dreads1 dreads2 flatTop "
    "flatTopLong grayBun grayMedium grayShort "
    "hatBeanie hatHip hijab long longAfro longBangs longCurly medium1 medium2 medium3 mediumBangs "
    "mediumBangs2 mediumBangs3 "
    "mediumStraight mohawk mohawk2 noHair1 noHair2 noHair3 pomp shaved1 shaved2 shaved3 short1 "
    "short2 short3 short4 short5 turban "
    "twists twists2"
)
EXPRESSIONS = _names(
    "angryWithFang awe blank calm cheeky concerned concernedFear contempt cute cyclops driven "
    "eatingHappy explaining eyesClosed fear "
    "hectic lovingGrin1 lovingGrin2 monster old rage serious smile smileBig smileLOL "
    "smileTeethGap solemn suspicious tired veryAngry"
)
FACIAL_HAIR = _names(
    "chin full full2 full3 full4 goatee1 goatee2 moustache1 moustache2 moustache3 moustache4 "
    "moustache5 moustache6 moustache7 "
    "moustache8 moustache9"
)
ACCESSORIES = _names("eyepatch glasses glasses2 glasses3 glasses4 glasses5 sunglasses sunglasses2")
MASKS = ["medicalMask", "respirator"]
SKIN = ["#ffdbb4", "#edb98a", "#d08b5b", "#ae5d29", "#694d3d"]
CLOTHING = ["#8fa7df", "#78e185", "#ffcf77", "#e279c7", "#e78276", "#9ddadb", "#fdea6b"]
HAIR = [
    "#2c1b18",
    "#e8e1e1",
    "#ecdcbf",
    "#d6b370",
    "#f59797",
    "#b58143",
    "#a55728",
    "#724133",
    "#4a312c",
    "#c93305",
]

# At 96 pixels some heads look alike, and 100 numbers do not reach for all: these are left out of
# the small ones.
NOT_SMALL = _names(
    "bangs2 bun2 cornrows2 dreads2 flatTopLong medium3 mediumBangs2 mediumBangs3 mohawk2 shaved3 "
    "twists2 "
    "angryWithFang concernedFear cyclops hectic monster rage "
    "moustache4 moustache5 moustache6 moustache7 moustache8 moustache9 medicalMask respirator"
)


@dataclass(frozen=True)
class Attribute:
    """name: as DiceBear's options call it. choices: its values there. share: of the cartoons that
    have it at all, 0 to 1.
    """

    name: str
    choices: Sequence[str]
    share: float = 1.0

    @property
    def threshold(self) -> float:
        """What the largest of the block must exceed, so that `share` of all normal vectors have the
        attribute.
        """
        if self.share >= 1:
            return float("-inf")
        return NormalDist().inv_cdf((1 - self.share) ** (1 / len(self.choices)))


# More beards and glasses than the style's own 10 and 20 %: each has to be seen often enough to be
# learned.
ATTRIBUTES = (
    Attribute("headVariant", HEADS),
    Attribute("expressionVariant", EXPRESSIONS),
    Attribute("facialHairVariant", FACIAL_HAIR, share=0.25),
    Attribute("accessoriesVariant", ACCESSORIES, share=0.3),
    Attribute("maskVariant", MASKS, share=0.04),
    Attribute("skinColor", SKIN),
    Attribute("clothingColor", CLOTHING),
    Attribute("headContrastColor", HAIR),
)


def attributes(size: Size) -> list[Attribute]:
    """Return the attributes of a size's cartoons, in the order of their blocks; those without a
    choice left are left out.
    """
    every = (
        (item, [name for name in item.choices if size == "large" or name not in NOT_SMALL])
        for item in ATTRIBUTES
    )
    return [Attribute(item.name, choices, item.share) for item, choices in every if choices]


def blocks(size: Size) -> list[tuple[Attribute, slice]]:
    """Return which numbers of the latent vector belong to which attribute. What lies behind the
    last block has no meaning.
    """
    found = attributes(size)
    ends = list(accumulate(len(item.choices) for item in found))
    return [
        (item, slice(end - len(item.choices), end)) for item, end in zip(found, ends, strict=True)
    ]


def draw_latents(size: Size, count: int, seed: int) -> np.ndarray:
    """Return (count, latent size) standard normal numbers, float32: the same ones for the same
    seed, on every machine.
    """
    return np.random.default_rng(seed).standard_normal((count, LATENTS[size])).astype(np.float32)


def chosen(latents: np.ndarray, size: Size) -> np.ndarray:
    """Return (count, latent size) float32 of zeros and ones: which choices the latents stand for.
    The generator's input.
    """
    hot = np.zeros_like(latents, dtype=np.float32)
    for item, block in blocks(size):
        values = latents[:, block]
        rows = np.flatnonzero(values.max(axis=1) > item.threshold)
        hot[rows, block.start + values[rows].argmax(axis=1)] = 1
    return hot


def described(hot: np.ndarray, size: Size) -> dict[str, str]:
    """Return one row of `chosen` in words: DiceBear's option -> its value; an attribute that is not
    drawn is not in it.
    """
    found = {}
    for item, block in blocks(size):
        if hot[block].any():
            found[item.name] = item.choices[int(hot[block].argmax())]
    return found
