"""Reading content credentials: of any JPEG, PNG, WebP or MP4, by any signer, and however
damaged it is.

The threat: files come from anywhere, and what they say is printed.
The mechanism: a cap on the bytes; C2PA's own reader, which is written in Rust, without network;
whatever it refuses becomes words; control characters are not printed. Beyond what that reader looks
at, the zeros that pad a signature must be zeros, and the frame of a manifest made
here must stand as it was written: no hash covers those.
Its limits: Valid says that nothing was changed since it was signed, not who that is; Trusted says
that one of the roots that you gave vouches for the signer. A picture without credentials may come
from anywhere, from here too.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from avatar_pipeline.content_credentials import watermark
from avatar_pipeline.content_credentials.jumbf import is_framed_as_written, padding_of_signatures
from avatar_pipeline.content_credentials.sign import LINEAGE
from avatar_pipeline.content_credentials.xmp import DIGITAL_SOURCE_TYPE, media_type
from avatar_pipeline.core.errors import CredentialsError, PhotoError
from avatar_pipeline.imaging.images import open_image

MAX_BYTES = 512 * 2**20  # a video of some minutes; the whole file is held in memory
MAX_TEXT_CHARS = 200  # of a foreign text
# stands in every manifest of C2PA 2, several times; older ones say urn:uuid:
REMAINS = b"urn:c2pa:"
# how the reader begins when a file names an address instead of holding a manifest
ELSEWHERE = "Remote: "
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


def read_media(path: Path) -> bytes:
    """Return the bytes of a file to examine. Raises CredentialsError when it is missing, no
    ordinary file, empty, unreadable or too long.
    """
    try:
        if not path.is_file():
            raise CredentialsError(
                f"{path} is no file. Give the path of a JPEG, PNG, WebP or MP4 file."
            )
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise CredentialsError(
            f"{path} cannot be read ({error}). Check that the file is there and readable."
        ) from None
    if len(data) > MAX_BYTES:
        raise CredentialsError(
            f"{path} is too long: more than {MAX_BYTES // 2**20} MiB. Cut the "
            "video, or use another program."
        )
    if media_type(data) is None:
        raise CredentialsError(
            f"{path} is empty (0 bytes)."
            if not data
            else f"{path} is neither JPEG, PNG, WebP nor MP4: its content says so."
        )
    return data


def verify(data: bytes, trusted: Sequence[bytes] = ()) -> Verdict:
    """Examine a JPEG, PNG, WebP or MP4 file. trusted: root certificates, PEM, whose signers count
    as trusted.
    """
    import c2pa

    kind = media_type(data)
    xmp = _xmp_source(data)
    try:
        with c2pa.Reader(kind, io.BytesIO(data), context=_context(trusted)) as reader:
            report = json.loads(reader.json())
            state = str(reader.get_validation_state())
    except c2pa.C2paError.ManifestNotFound:
        if REMAINS in data:
            return Verdict(
                "invalid",
                [
                    "there is a manifest that cannot be found any more: the file was "
                    "damaged or changed"
                ],
                xmp_source=xmp,
            )
        return Verdict("absent", xmp_source=xmp, watermark=_watermark(data))
    except (c2pa.C2paError, ValueError) as error:
        reason = _clean(str(error))
        if REMAINS in data:
            return Verdict(
                "invalid",
                [f"the file or its manifest is damaged or cut off ({reason})"],
                xmp_source=xmp,
            )
        if reason.startswith(ELSEWHERE):
            return Verdict(
                "absent",
                [f"its credentials lie in the network, where this does not look ({reason})"],
                xmp_source=xmp,
            )
        return Verdict("absent", [f"the file is damaged or cut off ({reason})"], xmp_source=xmp)
    return _verdict(report, state, data, xmp)


def _watermark(data: bytes) -> float | None:
    """Return the watermark's strength, in pictures that decode."""
    if media_type(data) == "video/mp4":
        return None
    try:
        return round(watermark.strength(open_image(data, name="the picture")), 1)
    except PhotoError:
        return None


def _context(trusted: Sequence[bytes]) -> Any:
    import c2pa

    settings: dict[str, Any] = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
    if trusted:
        settings["trust"] = {"user_anchors": b"\n".join(trusted).decode("ascii", "replace")}
    return c2pa.Context(c2pa.Settings.from_dict(settings))


def read_roots(paths: Sequence[Path]) -> list[bytes]:
    """Return certificates to trust. Raises CredentialsError for a file that holds none."""
    from cryptography import x509

    roots = []
    for path in paths:
        try:
            roots.append(path.read_bytes())
            x509.load_pem_x509_certificates(roots[-1])
        except OSError as error:
            raise CredentialsError(f"--trust {path} cannot be read ({error.strerror}).") from None
        except ValueError:
            raise CredentialsError(
                f"--trust {path} holds no certificate in PEM. Give a root.pem, or a list of them."
            ) from None
    return roots


def _verdict(report: dict[str, Any], state: str, data: bytes, xmp: str) -> Verdict:
    manifest = report.get("manifests", {}).get(report.get("active_manifest"), {})
    signature = manifest.get("signature_info") or {}
    results = report.get("validation_results") or {}
    failures = list((results.get("activeManifest") or {}).get("failure") or [])
    for delta in results.get("ingredientDeltas") or []:
        failures += (delta.get("validationDeltas") or {}).get("failure") or []
    problems = [
        PROBLEMS.get(one["code"]) or _clean(f"{one['code']}: {one.get('explanation', '')}")
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
        signer=_clean(
            ", ".join(
                str(part)
                for part in (signature.get("issuer"), signature.get("common_name"))
                if part
            )
        ),
        serial=_clean(signature.get("cert_serial_number")),
        made=_clean(
            signature.get("time")
            or next((action["when"] for action in actions if action.get("when")), "")
        ),
        stamped=bool(signature.get("time")),
        generator=_clean(
            " ".join(str(generator.get(name, "")) for name in ("name", "version"))
        ).strip(),
        source=_clean(sources[-1].removeprefix(DIGITAL_SOURCE_TYPE)) if sources else "",
        xmp_source=xmp,
        lineage={_clean(name): _plain(value) for name, value in lineage.items()},
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
        _clean(report.get("title")), _clean(report.get("relationship")), digest[1] if digest else ""
    )


def _plain(value: Any) -> Any:
    """Return a value of the lineage that can be printed: numbers, and short texts, one below
    another in lists and tables.
    """
    if isinstance(value, dict):
        return {_clean(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return (
        value
        if isinstance(value, bool | int | float) or value is None
        else _clean(value, most=5000)
    )


def _clean(text: Any, most: int = MAX_TEXT_CHARS) -> str:
    """Return a foreign text on one line, without control characters, which a terminal would
    obey.
    """
    words = "" if text is None else str(text)
    return "".join(sign if sign.isprintable() else "?" for sign in words[:most]) + (
        "..." if len(words) > most else ""
    )


def _xmp_source(data: bytes) -> str:
    """Return the digital source type in the XMP packet, empty when there is none."""
    found = re.search(
        rb"DigitalSourceType[^h]{1,40}(http[s]?://cv\.iptc\.org/newscodes/digitalsourcetype/[A-Za-z]{1,60})",
        data,
    )
    return found[1].decode().rpartition("/")[2] if found else ""
