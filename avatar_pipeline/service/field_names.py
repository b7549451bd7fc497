"""Names of fields that clients give: those that are not known, and what they are likely to mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

MAX_NAMED = 8  # unknown fields; more are counted
MAX_NAME_LENGTH = 60  # characters of a name that is repeated
ALIKE = 0.75  # difflib's ratio from which a name is taken for a misspelling of another

# What other services call the same thing.
SYNONYMS: tuple[frozenset[str], ...] = (
    frozenset({"num_inference_steps", "steps", "sampling_steps", "num_steps"}),
    frozenset({"guidance_scale", "cfg_scale", "cfg", "guidance"}),
    frozenset({"n", "batch", "batch_size", "num_images", "num_images_per_prompt", "num_outputs"}),
    frozenset({"image", "image_url", "init_image", "input_image", "reference_image"}),
    frozenset({"actor", "actorName", "actor_name", "character"}),
    frozenset({"format", "output_format"}),
    frozenset({"source_face", "source", "source_image"}),
    frozenset({"target", "target_face", "target_image"}),
    frozenset({"target_video", "video", "video_url"}),
)


def warnings(given: Iterable[str], known: Sequence[str], why: str = "") -> list[str]:
    """Return a sentence for each name of `given` that is not `known`. why: in words, where it is
    left out for another reason.
    """
    why = why or "is not a field of this call and was left out"
    unknown = [name for name in dict.fromkeys(given) if name not in known]
    found = []
    for name in unknown[:MAX_NAMED]:
        meant = suggestion(name, known)
        hint = f" Did you mean {meant}?" if meant else ""
        found.append(f"{shown_name(name)} {why}.{hint}")
    if (more := len(unknown) - MAX_NAMED) > 0:
        found.append(f"{more} more unknown fields were left out.")
    return found


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """Return the known field that an unknown name is likely to mean; None without one."""
    plain = {_plain(field): field for field in known}
    for names in SYNONYMS:
        if _plain(name) in map(_plain, names):
            for field in plain.values():
                if field in names:
                    return field
    found = get_close_matches(_plain(name), plain, n=1, cutoff=ALIKE)
    return plain[found[0]] if found else None


def shown_name(name: str) -> str:
    """Return a client's name of a field for a message and a header, which may not begin with a
    blank: printable ASCII, cut.
    """
    text = "".join(letter if " " <= letter <= "~" else "?" for letter in name).strip() or '""'
    return text if len(text) <= MAX_NAME_LENGTH else f"{text[: MAX_NAME_LENGTH - 3]}..."


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
