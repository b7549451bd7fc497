"""What the embedded model can read of a prompt.

Its text encoder knows the words of its training captions and nothing else: of any other word it
reads something at random (a garden, dim light, a grin), and the face suffers. So words that it does
not know are left out, and the answer says which.
"""

from __future__ import annotations

import re
from functools import lru_cache

from avatar_pipeline.diffusion.prompts import STUDIO, TRIGGER

SYNONYMS = {
    "grey": "gray",
    "girl": "woman",
    "lady": "woman",
    "women": "woman",
    "boy": "man",
    "guy": "man",
    "gentleman": "man",
    "men": "man",
    "somebody": "person",
    "someone": "person",
    "people": "person",
    "backdrop": "background",
    "wall": "background",
    "garden": "park",
    "outside": "outdoors",
}
FILLERS = frozenset(
    {"a", "an", "the", "of", "with", "and", "or", "in", "at", "to", "from", "for", "no"}
)
PERSONS = frozenset({"male", "female", "man", "woman", "person"})
LEADS = frozenset(
    {"headshot", "portrait", "photograph", "photo", "half-body", "full-body", "full-length"}
)
PLACES = frozenset({"background", "outdoors", "indoors", "park", "room"})
LEAD = "headshot portrait photograph of "


def read(prompt: str, description: str = "") -> tuple[str, list[str]]:
    """The prompt as the model can read it, and the words that were left out, in their order.

    description: of an actor with a LoRA, whose words are kept: it may have learned them. A prompt
    that names no person is about "a person", and one without a background gets the studio's: the
    model would draw any, and before gardens its faces are worst.
    """
    parts, left_out = known(prompt, description)
    found = set(" ".join(parts).split())
    if not found & PERSONS:
        parts.insert(0, f"{LEAD}a person")
    elif not found & LEADS:
        parts[0] = LEAD + parts[0]
    if not found & PLACES:
        parts.append(STUDIO)
    return ", ".join(parts), left_out


def known(text: str, description: str = "") -> tuple[list[str], list[str]]:
    """The parts of a text, between commas and the like, with the words that the model knows; and
    the words that it does not.
    """
    own = {_plain(word) for word in description.split()} | {TRIGGER}
    kept, left_out = [], []
    for part in re.split(r"[,.;:\n]+", text):
        words: list[str] = []
        for word in map(_plain, part.split()):
            word = SYNONYMS.get(word, word)
            pieces = [word] if word in own or word in _vocabulary() else word.split("-")
            if all(piece in own or piece in _vocabulary() for piece in pieces):
                words += pieces
            elif word:
                left_out.append(word)
        while words and words[-1] in FILLERS:
            words.pop()
        if any(word not in FILLERS for word in words):
            kept.append(" ".join(words))
    return kept, list(dict.fromkeys(left_out))


def _plain(word: str) -> str:
    return word.casefold().strip("\"'()[]{}!?*`“”„’…-_/\\")


@lru_cache(maxsize=1)
def _vocabulary() -> frozenset[str]:
    """Every word of the captions that the tokenizer was made from, and numbers up to 99."""
    from avatar_pipeline.bundled_model.text_encoder import corpus

    return frozenset(_plain(word.strip(",.;:")) for text in corpus(0) for word in text.split())
