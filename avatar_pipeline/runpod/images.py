"""From what a worker hands back to a picture: base64, also in the alphabet of addresses and without
padding, a data URL, or an address to fetch.

The threat: a worker is a foreign container image. What it hands back may be no picture, or a bomb,
or the address of a service that only this machine can reach (a cloud's metadata at 169.254.169.254,
a database's port), to be fetched with this machine's rights.
The mechanism: addresses are https only, without user names, on hosts all of whose addresses are
public; redirects are not followed; RunPod's key is not sent there; bytes are capped and decoded by
imaging.open_image alone. A name that changes its address between the
check and the connection does not help: the server must prove the name by a certificate, before
anything is sent.
Its limits: behind an HTTP proxy it is the proxy that resolves names. When the API itself is on this
machine (a test, a tunnel), so may the pictures be, and without https.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import requests
from PIL import Image

from avatar_pipeline.core.errors import PhotoError, RemoteError
from avatar_pipeline.imaging.images import MAX_BYTES, open_image
from avatar_pipeline.runpod.endpoint import Endpoint, Timeouts
from avatar_pipeline.runpod.outputs import (
    SEE_WORKER,
    SHORTEST,
    Returned,
    chosen,
    is_address,
    pictures_in,
    reports_in,
)
from avatar_pipeline.runpod.responses import printable, read_capped


def decode_output(
    output: Any,
    endpoint: Endpoint,
    patience: Timeouts,
    names: str = "",
    warn: Callable[[str], None] = lambda said: None,
) -> Image.Image:
    """Return the picture of a completed job's `output`: RGB, 8 bit.

    names: regular expression of the file names of the picture that is wanted; the first one is
    taken where none fits. warn: takes what a user must know of a picture that did come: what the
    worker reports beside it, which of several was taken. Raises RemoteError ("Generation failed:
    ...") when there is none, when it cannot be fetched, or is no picture.
    """
    pictures, note = chosen(pictures_in(output, endpoint.key), names)
    first, *others = pictures
    try:
        picture = _decoded(first, endpoint, patience)
    except RemoteError:
        # this job is paid for: an equal of the one that is broken will do
        for other in others:
            try:
                picture = _decoded(other, endpoint, patience)
            except RemoteError:
                continue
            note = f"of {len(pictures)} pictures the first cannot be read; {other.name} is taken"
            break
        else:
            raise
    for said in (*([note] if note else []), *reports_in(output, endpoint.key)):
        warn(said if said == note else f"the worker reports beside the picture: {said}")
    return picture


def _decoded(returned: Returned, endpoint: Endpoint, patience: Timeouts) -> Image.Image:
    source = returned.source.strip()
    data = _fetch(source, endpoint, patience) if is_address(source) else _decode(source)
    try:
        return open_image(data, name="the worker's picture")
    except PhotoError as error:
        reason = str(error).partition(". ")[0]
        raise RemoteError(f"Generation failed: {reason}. {SEE_WORKER}.") from None


def _decode(text: str) -> bytes:
    head, found, rest = text.partition(",") if text[:5].lower() == "data:" else ("", "", text)
    if "://" in text[:12]:
        kind = printable(text.partition("://")[0], 12)
        raise RemoteError(
            f"Generation failed: the worker gives an address of {kind}://, which is not fetched: "
            "only https is. Let it hand out presigned https addresses, or base64."
        )
    if len(rest) > MAX_BYTES * 4 // 3 + 4:
        raise RemoteError(
            "Generation failed: the worker's picture is longer than "
            f"{MAX_BYTES >> 20} MiB. Ask for a smaller one."
        )
    if found and not head.lower().endswith(";base64"):
        return unquote_to_bytes(rest)
    if "%" in rest:
        rest = unquote_to_bytes(rest).decode("ascii", "replace")
    plain = "".join(rest.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        if len(plain) < SHORTEST and len("".join(rest.split())) % 4:
            raise ValueError("words, not a picture without padding")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise RemoteError(
            f"Generation failed: the worker's picture is not valid base64. {SEE_WORKER}."
        ) from None


def _fetch(url: str, endpoint: Endpoint, patience: Timeouts) -> bytes:
    """Return the bytes at an address. Only its host is in messages: the rest of a presigned address
    is a secret.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise RemoteError(
            f"Generation failed: the worker gives an address that is none. {SEE_WORKER}."
        ) from None
    if not endpoint.local and (
        parts.scheme != "https" or parts.username or parts.password or not _public(host, port)
    ):
        raise RemoteError(
            f"Generation failed: the worker gives an address on {printable(host, 100)} that is "
            "not fetched: only https and public hosts "
            "are. Check BUCKET_ENDPOINT_URL of the endpoint, or unset it: pictures then come as "
            "base64."
        )
    failed = f"Generation failed: the picture on {printable(host, 100)} could not be fetched"
    fault = ""
    for attempt in range(patience.attempts):
        time.sleep(patience.backoff * 2 ** (attempt - 1) if attempt else 0)
        try:
            timeouts = (patience.connect, patience.read)
            with requests.get(
                url, timeout=timeouts, stream=True, allow_redirects=False
            ) as response:
                code = response.status_code
                data = read_capped(response, MAX_BYTES, patience.read) if code == 200 else b""
        except (requests.exceptions.RequestException, TimeoutError) as error:
            fault = type(error).__name__
            continue
        if data is None:
            raise RemoteError(
                f"{failed}: it is longer than {MAX_BYTES >> 20} MiB. Ask for a smaller one."
            )
        if code == 200:
            return data
        fault = f"it answers {code}"
        if code != 429 and code < 500:
            break
    raise RemoteError(
        f"{failed}: {fault}. Check the endpoint's bucket, its rights and the network."
    )


def _public(host: str, port: int) -> bool:
    """Return whether all addresses of a host are public ones. A name that does not resolve is
    not.
    """
    try:
        found = {
            str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        }
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(
        ipaddress.ip_address(address.partition("%")[0]).is_global for address in found
    )
