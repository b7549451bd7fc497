"""What a file says of itself, as its credentials' reader reports it: a verdict in words that can be
printed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from avatar_pipeline.content_credentials.jumbf import is_framed_as_written, padding_of_signatures
from avatar_pipeline.content_credentials.sign import LINEAGE
from avatar_pipeline.content_credentials.xmp import DIGITAL_SOURCE_TYPE

MAX_TEXT_CHARS = 200  # of a foreign text
State = Literal["trusted", "valid", "invalid", "absent"]

# C2PA 2.4, section 15.2.2, in words. What is not here is shown in the reader's own words.
PROBLEMS = {
    "assertion.dataHash.mismatch": "the pixels or the metadata were changed after the picture was "
    "signed",
    "assertion.bmffHash.mismatch": "the video or its metadata were changed after it was signed",
    "assertion.boxesHash.mismatch": "the pixels or the metadata were changed after the picture "
    "was signed",
    "assertion.hashedURI.mismatch": "a statement in the manifest was changed after it was signed",
    "assertion.missing": "a statement was taken out of the manifest",
    "assertion.cbor.invalid": "a statement in the manifest is damaged",
    "claimSignature.mismatch": "the claim or its signature was changed, or the signature is of "
    "another key",
    "claimSignature.missing": "the signature is missing or damaged",
    "claimSignature.outsideValidity": "it was signed when the certificate was not valid",
    "signingCredential.expired": "the signer's certificate has expired, and no time stamp tells "
    "that it was valid at the signing",
    "signingCredential.invalid": "the signer's certificate is not one for signing content",
    "signingCredential.ocsp.revoked": "the signer's certificate was revoked",
}

# no fault of the picture: it makes the difference between Valid and Trusted
UNTRUSTED = "signingCredential.untrusted"


@dataclass(frozen=True)
class Ingredient:
    """What a picture was made of. sha256: empty when the manifest names none."""

    name: str
    relationship: str
    sha256: str


@dataclass(frozen=True)
class Verdict:
    """What a file says of itself, and whether that holds. Texts come from the file: they are
    printable and short, not true.

    state: see the file's head. problems: in words. signer: of the certificate; serial: its number.
    made: as the manifest says; stamped: whether a third party says so, and not the signer's own
    clock. source: IPTC's digital source type, in the manifest; xmp_source: in the XMP packet, which
    anybody can write. lineage: model, seed and digests, of pictures made here. watermark: how
    clearly a picture without a manifest shows this project's mark, in standard deviations
    (watermark.py); None where it was not looked for.
    """

    state: State
    problems: list[str] = field(default_factory=list)
    signer: str = ""
    serial: str = ""
    made: str = ""
    stamped: bool = False
    generator: str = ""
    source: str = ""
    xmp_source: str = ""
    lineage: dict[str, Any] = field(default_factory=dict)
    ingredients: list[Ingredient] = field(default_factory=list)
    watermark: float | None = None

    @property
    def digests(self) -> list[str]:
        """All sha256 in it, as a store of actors may know them. A foreign lineage may
        hold anything there.
        """
        named = (self.lineage.get(name) for name in ("copy_of", "model_sha256", "lora_sha256"))
        return [
            digest
            for digest in (*named, *(each.sha256 for each in self.ingredients))
            if digest and isinstance(digest, str)
        ]


def judge(report: dict[str, Any], state: str, data: bytes, xmp: str) -> Verdict:
    """Return the verdict on a file whose manifest could be read. report, state: the reader's."""
    manifest = report.get("manifests", {}).get(report.get("active_manifest"), {})
    signature = manifest.get("signature_info") or {}
    results = report.get("validation_results") or {}
    failures = list((results.get("activeManifest") or {}).get("failure") or [])
    for delta in results.get("ingredientDeltas") or []:
        failures += (delta.get("validationDeltas") or {}).get("failure") or []
    problems = [
        PROBLEMS.get(one["code"]) or clean(f"{one['code']}: {one.get('explanation', '')}")
        for one in failures
        if one["code"] != UNTRUSTED
    ]
    if any(any(pad) for pad in padding_of_signatures(data)):
        problems.append("the padding of the signature, which must be zeros, was changed")
    elif any(
        one.get("name") == "avatar_pipeline" for one in _list(manifest.get("claim_generator_info"))
    ) and not is_framed_as_written(data):
        problems.append("the boxes of the manifest were changed")
    actions = [
        action
        for data_ in _assertions(manifest, "c2pa.actions")
        for action in _list(data_.get("actions"))
    ]
    lineage = next((data_ for data_ in _assertions(manifest, LINEAGE)), {})
    generator = next(iter(_list(manifest.get("claim_generator_info"))), {})
    sources = [
        action["digitalSourceType"]
        for action in actions
        if isinstance(action.get("digitalSourceType"), str)
    ]
    final: State = (
        "invalid"
        if problems or state == "Invalid"
        else "trusted"
        if state == "Trusted"
        else "valid"
    )
    return Verdict(
        state=final,
        problems=list(dict.fromkeys(problems)),
        signer=clean(
            ", ".join(
                str(part)
                for part in (signature.get("issuer"), signature.get("common_name"))
                if part
            )
        ),
        serial=clean(signature.get("cert_serial_number")),
        made=clean(
            signature.get("time")
            or next((action["when"] for action in actions if action.get("when")), "")
        ),
        stamped=bool(signature.get("time")),
        generator=clean(
            " ".join(str(generator.get(name, "")) for name in ("name", "version"))
        ).strip(),
        source=clean(sources[-1].removeprefix(DIGITAL_SOURCE_TYPE)) if sources else "",
        xmp_source=xmp,
        lineage={clean(name): _plain(value) for name, value in lineage.items()},
        ingredients=[_ingredient(one) for one in _list(manifest.get("ingredients"))],
    )


def _assertions(manifest: dict[str, Any], label: str) -> list[dict[str, Any]]:
    return [
        one["data"]
        for one in _list(manifest.get("assertions"))
        if str(one.get("label", "")).startswith(label) and isinstance(one.get("data"), dict)
    ]


def _list(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _ingredient(report: dict[str, Any]) -> Ingredient:
    digest = re.fullmatch(r"sha256:([0-9a-f]{64})", str(report.get("instance_id", "")))
    return Ingredient(
        clean(report.get("title")), clean(report.get("relationship")), digest[1] if digest else ""
    )


def _plain(value: Any) -> Any:
    """Return a value of the lineage that can be printed: numbers, and short texts, one below
    another in lists and tables.
    """
    if isinstance(value, dict):
        return {clean(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return (
        value if isinstance(value, bool | int | float) or value is None else clean(value, most=5000)
    )


def clean(text: Any, most: int = MAX_TEXT_CHARS) -> str:
    """Return a foreign text on one line, without control characters, which a terminal would
    obey.
    """
    words = "" if text is None else str(text)
    return "".join(sign if sign.isprintable() else "?" for sign in words[:most]) + (
        "..." if len(words) > most else ""
    )
