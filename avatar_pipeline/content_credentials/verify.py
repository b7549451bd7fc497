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
from pathlib import Path
from typing import Any

from avatar_pipeline.content_credentials import watermark
from avatar_pipeline.content_credentials.verdict import Verdict, clean, judge
from avatar_pipeline.content_credentials.xmp import media_type
from avatar_pipeline.core.errors import CredentialsError, PhotoError
from avatar_pipeline.imaging.images import open_image

MAX_BYTES = 512 * 2**20  # a video of some minutes; the whole file is held in memory
# stands in every manifest of C2PA 2, several times; older ones say urn:uuid:
REMAINS = b"urn:c2pa:"
# how the reader begins when a file names an address instead of holding a manifest
ELSEWHERE = "Remote: "


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
        reason = clean(str(error))
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
    return judge(report, state, data, xmp)


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


def _xmp_source(data: bytes) -> str:
    """Return the digital source type in the XMP packet, empty when there is none."""
    found = re.search(
        rb"DigitalSourceType[^h]{1,40}(http[s]?://cv\.iptc\.org/newscodes/digitalsourcetype/[A-Za-z]{1,60})",
        data,
    )
    return found[1].decode().rpartition("/")[2] if found else ""
