"""From what a worker hands back to a picture.

The shapes: worker-comfyui 5.0.0 and later gives {"images": [{"filename", "type": "base64" |
"s3_url", "data"}], "errors": [...]}; before, it gave {"message": base64 or address, "status":
"success"}; the Base Image Generation API has {"job_results": {"images": [base64, ...]}}. Base64 may
carry a data URL's head.

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
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import requests
from PIL import Image

from avatar_pipeline.core.errors import PhotoError, RemoteError
from avatar_pipeline.imaging.images import MAX_BYTES, open_image
from avatar_pipeline.runpod.endpoint import Endpoint, Timeouts
from avatar_pipeline.runpod.responses import printable, read_capped

SEE_WORKER = "Look at the job in the RunPod console (Requests, Logs)"


def decode_output(output: Any, endpoint: Endpoint, patience: Timeouts) -> Image.Image:
    """Return the first picture of a completed job's `output`: RGB, 8 bit.

    Raises RemoteError ("Generation failed: ...") when there is none, when it cannot be fetched, or
    is no picture.
    """
    source = _source(output, endpoint.key)
    data = (
        _fetch(source, endpoint, patience)
        if source[:8].lower().startswith(("http://", "https://"))
        else _decode(source)
    )
    try:
        return open_image(data, name="the worker's picture")
    except PhotoError as error:
        reason = str(error).partition(". ")[0]
        raise RemoteError(f"Generation failed: {reason}. {SEE_WORKER}.") from None


def _source(output: Any, key: str) -> str:
    """Return the Base64 or the address of the first picture."""
    fields = output if isinstance(output, dict) else {}
    results = fields.get("job_results")
    pictures = fields.get("images") or (
        results.get("images") if isinstance(results, dict) else None
    )
    found: Any = None
    if isinstance(pictures, list) and pictures:
        found = pictures[0].get("data") if isinstance(pictures[0], dict) else pictures[0]
    elif fields.get("status", "success") == "success":
        found = fields.get("message")
    if isinstance(found, str) and found:
        return found
    if reasons := [
        str(fields[name]) for name in ("error", "errors", "details", "message") if fields.get(name)
    ]:
        said = printable(", ".join(reasons).replace(key, "***"))
        raise RemoteError(
            f"Generation failed: the worker says: {said}. {SEE_WORKER}, or try "
            "a simpler description."
        )
    said = printable(json.dumps(output).replace(key, "***"), 200)
    raise RemoteError(
        f"Generation failed: the job is completed, and its output holds no picture: {said}. Check "
        "that the workflow has a SaveImage "
        "node, and that the endpoint runs worker-comfyui."
    )


def _decode(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    if len(text) > MAX_BYTES * 4 // 3 + 4:
        raise RemoteError(
            "Generation failed: the worker's picture is longer than "
            f"{MAX_BYTES >> 20} MiB. Ask for a smaller one."
        )
    try:
        return base64.b64decode("".join(text.split()), validate=True)
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
