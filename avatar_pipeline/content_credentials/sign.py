"""Content credentials: what a picture was made from and by, signed, inside of the picture's own
file (C2PA, https://c2pa.org).

`sign` comes last: any program that saves the picture again drops the manifest, and any changed bit
breaks it. It never touches the coded pixels. What is recorded: that a model made the picture, which
one, its seed, the sha256 of a LoRA and of what went in. What is never recorded: names of people,
actors and files, and the prompt unless the user asks for it (AVATAR_CREDENTIALS_PROMPT). There are
no thumbnails.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from avatar_pipeline import __version__
from avatar_pipeline.content_credentials import keys
from avatar_pipeline.content_credentials.xmp import (
    DIGITAL_SOURCE_TYPE,
    Source,
    media_type,
    with_source_type,
)
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import CredentialsError

if TYPE_CHECKING:
    import c2pa

LINEAGE = "org.avatar_pipeline.lineage"
PROMPT_VARIABLE = "AVATAR_CREDENTIALS_PROMPT"
# what is edited: the parent in C2PA's words; all else went in beside it
PARENTS = ("target", "target_video", "photograph")
# No network, no thumbnails. What was just signed is not verified once more: that takes as long
# again, and the tests do it.
_SETTINGS: dict[str, Any] = {
    "builder": {
        "thumbnail": {"enabled": False},
        "created_assertion_labels": ["c2pa.actions", LINEAGE],
    },
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False},
}


@dataclass(frozen=True)
class Origin:
    """What the manifest says of one picture.

    model: id, such as "embedded" or "cartoon_gan_small"; empty where no model took part.
    ingredients: what went in, by what it is (base_image, source_face), each with its sha256.
    source: IPTC's digital source type. prompt: None unless the user asked for it to be recorded.
    edits: what was done to the picture that a "photograph" among the ingredients is, as C2PA's
    actions: c2pa.cropped and the like.
    """

    model: str
    model_sha256: str
    seed: int | None
    source: Source
    lora_sha256: str | None = None
    ingredients: Mapping[str, str] = field(default_factory=dict)
    prompt: str | None = None
    edits: tuple[str, ...] = ()


def sign(data: bytes, origin: Origin) -> bytes:
    """Return a JPEG, PNG, WebP or MP4 file with XMP and a signed C2PA manifest; the pixels are the
    same. About 4 KB longer.

    Raises CredentialsError when there is nothing usable to sign with, or the file is none of these.
    """
    import c2pa

    kind = media_type(data)
    if kind is None:
        raise CredentialsError(
            "Only JPEG, PNG, WebP and MP4 files can be signed. Export the picture as one of them."
        )
    signed = io.BytesIO()
    try:
        with c2pa.Builder(
            json.dumps(_definition(origin, sha256_bytes(data))),
            _context(keys.current(), os.getpid()),
        ) as builder:
            builder.sign(kind, io.BytesIO(with_source_type(data, origin.source)), signed)
    except c2pa.C2paError as error:
        raise CredentialsError(
            f"A picture could not be signed: {error}. See: avatar-pipeline credentials show"
        ) from None
    return signed.getvalue()


def includes_prompt() -> bool:
    """Return whether the user wants prompts in manifests: AVATAR_CREDENTIALS_PROMPT is 1, true, yes
    or on.
    """
    return os.environ.get(PROMPT_VARIABLE, "").strip().lower() in ("1", "true", "yes", "on")


@lru_cache(maxsize=2)
def _context(credentials: keys.Credentials, process: int) -> c2pa.Context:
    """Return c2pa's context, made once for each pair and process: it takes as long as a signature,
    and a forked child cannot use its parent's.
    """
    import c2pa

    info = c2pa.C2paSignerInfo(b"es256", credentials.chain, credentials.key, None)
    return c2pa.Context(c2pa.Settings.from_dict(_SETTINGS), c2pa.Signer.from_info(info))


def _definition(origin: Origin, copy_of: str) -> dict[str, Any]:
    """Return the manifest, as c2pa's builder takes it. copy_of: sha256 of the file before it was
    signed, which the store may know.
    """
    lineage = {
        "copy_of": copy_of,
        "model": _model(origin),
        "model_sha256": origin.model_sha256,
        "seed": origin.seed,
        "lora_sha256": origin.lora_sha256,
        "prompt": origin.prompt,
    }
    return {
        "claim_generator_info": [{"name": "avatar_pipeline", "version": __version__}],
        "ingredients": [
            _ingredient(name, sha256, origin) for name, sha256 in origin.ingredients.items()
        ],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": _actions(origin)}},
            {
                "label": LINEAGE,
                "data": {name: value for name, value in lineage.items() if value not in (None, "")},
            },
        ],
    }


def _ingredient(name: str, sha256: str, origin: Origin) -> dict[str, str]:
    """Return an ingredient, by hash only: the ingredient itself is not read, and no thumbnail of it
    is kept.
    """
    return {
        "title": name,
        "format": "application/octet-stream",
        "instance_id": _id(sha256),
        "relationship": _relationship(name, origin),
    }


def _relationship(name: str, origin: Origin) -> str:
    if not _edits(origin):
        return "inputTo"
    return "parentOf" if name in PARENTS else "componentOf"


def _actions(origin: Origin) -> list[dict[str, Any]]:
    """Return the actions: created by a model; or, for a face swap, the target opened, the face
    placed, and the whole edited; or the photograph opened, and what was done to it (C2PA 2.4,
    section 18.15).
    """
    when = datetime.now(UTC).isoformat(timespec="seconds")
    kind = DIGITAL_SOURCE_TYPE + origin.source
    agent = {"name": _model(origin) or "avatar_pipeline"}

    def of(names: list[str]) -> dict[str, Any]:
        return (
            {"parameters": {"ingredientIds": [_id(origin.ingredients[name]) for name in names]}}
            if names
            else {}
        )

    if not _edits(origin):
        names = list(origin.ingredients)
        return [
            {
                "action": "c2pa.created",
                "when": when,
                "digitalSourceType": kind,
                "softwareAgent": agent,
                **of(names),
            }
        ]
    parents = [name for name in origin.ingredients if name in PARENTS]
    placed = [name for name in origin.ingredients if name not in PARENTS]
    return [
        {"action": "c2pa.opened", "when": when, **of(parents)},
        *([{"action": "c2pa.placed", "when": when, **of(placed)}] if placed else []),
        *(
            {"action": edit, "when": when, "digitalSourceType": kind, "softwareAgent": agent}
            for edit in origin.edits or ("c2pa.edited",)
        ),
    ]


def _model(origin: Origin) -> str:
    """Return the model's id. Folders have names that people give them, such as a person's: of those
    the hash is enough.
    """
    return "local" if origin.model.startswith("local:") else origin.model


def _edits(origin: Origin) -> bool:
    return any(name in PARENTS for name in origin.ingredients) and (
        bool(origin.edits) or origin.source == "compositeWithTrainedAlgorithmicMedia"
    )


def _id(sha256: str) -> str:
    return f"sha256:{sha256}"
