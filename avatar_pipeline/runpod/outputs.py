"""Where the pictures are in what a worker hands back.

The shapes: worker-comfyui 5.0.0 and later gives {"images": [{"filename", "type": "base64" |
"s3_url", "data"}], "errors": [...]}; before, it gave {"message": base64 or address, "status":
"success"}; the Base Image Generation API has {"job_results": {"images": [base64, ...]}}. Other
handlers give a list, a single text, pictures by node or by file name, JSON in a text, or other
names for the same (image, image_url, output, data, b64_json, url). Under a name that is not known
a text is a picture when it begins as a picture file or a data URL does: the job is paid for.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from avatar_pipeline.core.errors import RemoteError
from avatar_pipeline.runpod.responses import printable

SEE_WORKER = "Look at the job in the RunPod console (Requests, Logs)"
# Fields that hold pictures, the likeliest first; then those of one picture among others.
HOLDERS = ("images", "image", "job_results", "output", "outputs", "result", "results", "data")
ADDRESSES = ("image_url", "image_urls", "url", "urls", "s3_url")
ENTRY = ("data", "image", "base64", "b64_json", "image_base64", "url", "image_url", "s3_url")
REPORTS = ("errors", "error", "warnings", "warning")
# Base64 in either alphabet: a picture has at least some hundred characters of it.
SHORTEST = 64
DEEPEST = 8
ENCODED = re.compile(r"[A-Za-z0-9+/_\-\s]+=*\s*")
# How base64 of JPEG, PNG, WebP, GIF and BMP begins, and of the box that HEIC and AVIF begin with.
BEGINNINGS = ("/9j/", "_9j_", "iVBORw0KGgo", "UklGR", "R0lGOD", "Qk0", "AAAA")
# Fields of pictures that are not what was drawn, or of no picture.
ASIDE = re.compile(r"input|mask|preview|thumb|control|source|message|" + "|".join(REPORTS), re.I)


@dataclass(frozen=True)
class Returned:
    """A picture as it came. name: its file name, or "". source: base64, data URL or address."""

    name: str
    source: str


def is_address(source: str) -> bool:
    """Return whether a picture is to be fetched."""
    return source[:8].lower().startswith(("http://", "https://"))


def pictures_in(output: Any, key: str) -> list[Returned]:
    """Return all pictures of a completed job's output, in their order.

    key: RunPod's, which no message shows. Raises RemoteError ("Generation failed: ...") when there
    is none.
    """
    output = _parsed(output)
    found = list(dict.fromkeys(_pictures(output, DEEPEST)))
    fields = output if isinstance(output, dict) else {}
    message = _parsed(fields.get("message"))
    if not found and fields.get("status", "success") == "success" and message:
        text = isinstance(message, str)
        found = [Returned("", message)] if text else _pictures(message, DEEPEST, inside=True)
    if found:
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
        "that the workflow has a SaveImage node, and that the endpoint runs worker-comfyui."
    )


def reports_in(output: Any, key: str) -> list[str]:
    """Return what a worker reports beside its pictures, a line for each, without the key."""
    output = _parsed(output)
    fields = output if isinstance(output, dict) else {}
    said: list[str] = []
    for name in REPORTS:
        value = fields.get(name)
        said += map(str, value if isinstance(value, list) else [value] if value else [])
    return [printable(line.replace(key, "***")) for line in dict.fromkeys(said)]


def chosen(pictures: list[Returned], names: str) -> tuple[list[Returned], str]:
    """Return those of the pictures that the saving node named, the first one to be taken, and a
    note where another one may be meant.

    names: regular expression of that node's file names; empty where they are not known.
    """
    named = [one for one in pictures if names and re.fullmatch(names, one.name)]
    of = named or pictures
    if len(of) == 1:
        return of, ""
    called = ", ".join(printable(one.name or "without a name", 60) for one in of[:6])
    return of, (
        f"the worker handed back {len(of)} pictures that may be meant ({called}); the first is "
        "taken. Give the workflow one SaveImage, and its filename_prefix a name of its own."
    )


def _pictures(value: Any, depth: int, inside: bool = False) -> list[Returned]:
    """Return the pictures of a value. inside: of a list of pictures, where every text is one."""
    if depth == 0:
        return []
    value = _parsed(value)
    if isinstance(value, str):
        return [Returned("", value)] if value and (inside or _like_a_picture(value)) else []
    if isinstance(value, list):
        return [one for part in value for one in _pictures(part, depth - 1, inside)]
    if not isinstance(value, dict):
        return []
    name = value.get("filename") or value.get("name") or ""
    source = next((value[f] for f in ENTRY if isinstance(value.get(f), str) and value[f]), None)
    if source is not None and (inside or _like_a_picture(source)):
        return [Returned(str(name), source)]
    for field in (*HOLDERS, *ADDRESSES):
        listed = field == "images" and isinstance(value.get(field), list)
        if found := _pictures(value.get(field), depth - 1, listed):
            return found
    return [
        one
        for field, other in value.items()
        if not ASIDE.search(str(field))
        for one in _unnamed(str(field), other, depth)
        if one.name or not is_address(one.source)  # an address alone may be of anything
    ]


def _unnamed(field: str, value: Any, depth: int) -> list[Returned]:
    """Return the pictures of a field whose name is not known; it may be that of a file."""
    value = _parsed(value)
    if not isinstance(value, str):
        return _pictures(value, depth - 1)
    name = field if "." in field else ""
    return [Returned(name, value)] if value.startswith(("data:image/", *BEGINNINGS)) else []


def _parsed(value: Any) -> Any:
    """Return what a text says that is JSON, or bytes as Python prints them; else the value."""
    if isinstance(value, str):
        text = value.strip()
        if text[:2] in ("b'", 'b"'):
            return text[2:-1]
        if text[:1] in ("{", "[", '"'):
            with suppress(ValueError, RecursionError):
                return json.loads(text)
    return value


def _like_a_picture(text: str) -> bool:
    head = text[:8].lower()
    if head.startswith(("http://", "https://", "data:")):
        return True
    return len(text) >= SHORTEST and ENCODED.fullmatch(text) is not None
