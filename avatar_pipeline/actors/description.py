"""Is a description good enough to draw a person from? The guidelines of the base image service, as
warnings with examples.

A word list knows no grammar and not every word. It warns, therefore, and never refuses; only a
description of a single word, with no photograph to make up for it, is refused, because no one could
say who should be drawn.
"""

from __future__ import annotations

import re
from typing import Literal

from avatar_pipeline.core.errors import ActorError

EXAMPLE = "european 25 year old male with short brown hair and blue eyes"

APPEARANCE = """
    european african asian american latin latino latina hispanic caucasian white black brown indian
    arab arabic arabian persian turkish jewish middle-eastern eastern western northern southern
    nordic scandinavian mediterranean slavic indigenous aboriginal maori polynesian pacific
    caribbean mixed mestizo ethnicity skin skinned fair-skinned dark-skinned light-skinned
    olive-skinned german austrian swiss french italian spanish portuguese british english irish
    scottish welsh dutch belgian danish swedish norwegian finnish icelandic polish czech slovak
    hungarian romanian bulgarian serbian croatian greek russian ukrainian georgian armenian iranian
    iraqi syrian lebanese israeli egyptian moroccan algerian tunisian nigerian ghanaian kenyan
    ethiopian somali congolese chinese japanese korean vietnamese thai filipino indonesian malaysian
    mongolian pakistani bangladeshi afghan tibetan nepali mexican brazilian argentinian colombian
    peruvian chilean cuban canadian australian
"""
MALE, FEMALE = "male man boy men gentleman", "female woman girl women lady"
GENDER = f"{MALE} {FEMALE} nonbinary non-binary androgynous"
FEATURES = """
    hair haired hairless bald balding bun ponytail braid braids braided dreadlocks afro curls fringe
    bangs blond blonde brunette redhead redheaded beard bearded stubble moustache mustache goatee
    shaven shaved eye eyes eyed eyebrow eyebrows brows nose jaw chin cheek cheeks cheekbones dimple
    dimples lips mouth teeth forehead face faced ears freckles freckled wrinkles wrinkled mole scar
    tattoo tattooed glasses spectacles earring earrings smile smiling slim slender thin skinny
    athletic muscular stocky heavyset chubby plump overweight petite tall short build built stature
    complexion
"""
AGE_WORDS = """
    teen teenage teenaged teenager middle-aged elderly twenties thirties forties fifties sixties
    seventies eighties nineties twenty thirty forty fifty sixty seventy eighty
"""
GENERIC = (
    "person human people someone somebody anyone individual adult character actor actress model "
    "guy face portrait"
)
STYLISED = """
    superhero superheroine hero villain cartoon anime manga comic comics chibi pixar disney elf
    elven dwarf orc goblin troll fairy mermaid vampire werewolf zombie demon angel wizard witch
    alien robot android cyborg fantasy painting painted drawing drawn sketch illustration watercolor
    watercolour render rendered 3d cgi stylized stylised cyberpunk steampunk
"""
# "black hair" names a hair colour and no appearance: such pairs are left out before appearance is
# looked for.
COLOURED = re.compile(
    r"\b(?:black|white|brown)\s+(?:\w+\s+)?"
    r"(?:hair|beard|eyes?|eyebrows|moustache|mustache|glasses|shirt|suit|jacket|dress|coat)\b"
)
AGE = re.compile(r"\b(?:[1-9]|[1-9]\d|1[01]\d)(?:s|yo)?\b")


def check_description(text: str) -> list[str]:
    """Return what a description lacks: an empty list, or one warning for each fault, each with a
    better example.
    """
    words = re.findall(r"[a-z0-9'-]+", text.lower())
    if not words:
        return [f"The description is empty. Say who the person is, such as: {EXAMPLE!r}."]

    warnings = []
    known = _words(text)
    stylised = sorted(known & _set(STYLISED))
    if stylised:
        warnings.append(
            f"{', '.join(map(repr, stylised))} is too stylised for a photograph. Describe a "
            f"real-looking person: {EXAMPLE!r}."
        )
    missing = _missing(text)
    if len(missing) == 4:
        if known & _set(GENERIC) or stylised:
            warnings.append(
                f"{text!r} is too generic: it fits everybody. Say who it is, such as: {EXAMPLE!r}."
            )
        elif len(words) <= 3:
            warnings.append(
                f"{text!r} looks like a bare name, and a model cannot draw a name. "
                f"Describe the person: {EXAMPLE!r}."
            )
            return warnings
    warnings.extend(
        f"The description does not tell the {what}. Add it, such as {example!r}."
        for what, example in missing
    )
    return warnings


def described_gender(text: str) -> Literal["male", "female"] | None:
    """Return which of the two a description says; None when it says neither, both or a third."""
    said = _words(text) & _set(GENDER)
    if said and said <= _set(MALE):
        return "male"
    return "female" if said and said <= _set(FEMALE) else None


def require_description(text: str, *, where: str = "description") -> None:
    """Refuse a description of one word or none: too little to draw a person from, when there are no
    photographs.

    where: what the error calls the field. Raises ActorError.
    """
    if len(text.split()) < 2:
        said = f"is a single word ({text.strip()!r})" if text.strip() else "is empty"
        raise ActorError(
            f"{where} {said}, and there are no photographs to show who is meant. "
            "Tell ethnicity or appearance, age, gender and distinctive features, such as: "
            f"{EXAMPLE!r}."
        )


def _missing(text: str) -> list[tuple[str, str]]:
    """Return the guidelines, of four, that the words do not answer: (what, an example of it)."""
    missing = []
    known = _words(text)
    if not _words(COLOURED.sub(" ", text.lower())) & _set(APPEARANCE):
        missing.append(("ethnicity or appearance", "european"))
    if not (AGE.search(text.lower()) or known & _set(AGE_WORDS)):
        missing.append(("age", "25 year old"))
    if not known & _set(GENDER):
        missing.append(("gender", "male"))
    if not known & _set(FEATURES):
        missing.append(("distinctive features", "with short brown hair and blue eyes"))
    return missing


def _words(text: str) -> set[str]:
    """Return the words in lower case; "fair-skinned" counts as it stands and by its parts."""
    words = re.findall(r"[a-z0-9'-]+", text.lower())
    return set(words) | {part for word in words for part in word.split("-")}


def _set(words: str) -> set[str]:
    return set(words.split())
