"""What same_answers.py keeps of an answer: status, headers, and the body field by field, without
what differs from one run to the next; pictures by their decoded pixels and their XMP.

Not a program.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable
from typing import Any

import av
import requests
from PIL import Image

UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
ENCODED = re.compile(r"(data:[a-z/]+;base64,)?(iVBORw0KG|/9j/)[A-Za-z0-9+/]{200,}=*")
XMP = re.compile(rb"<x:xmpmeta.*?</x:xmpmeta>", re.DOTALL)
# Of every answer, or of the machine.
LEFT_OUT = ("date", "content-length")
# Values that time decides: only whether they are there is compared.
THERE = ("etag", "last-modified", "retry-after", "idempotency-key-expires")
# Fields of a job that goes on while it is asked for.
MOVING = ("state", "position", "share", "doing", "preview_url", "started", "finished", "runs",
          "made", "image_urls", "result", "error", "status", "time_required")  # fmt: skip
SECONDS = ("time_required", "seconds")  # numbers that time decides


class Heard:
    """Turns one server's answers into what is compared.

    plain: takes folders, times and addresses out of a text. Ids of jobs are called by the request
    whose answer first had them: of two servers the same job then has the same name.
    """

    def __init__(self, plain: Callable[[str], str]) -> None:
        self._plain = plain
        self._names: dict[str, str] = {}
        self._made: dict[str, str] = {}

    def text(self, text: str, name: str) -> str:
        """A text without ids, times and the like. name: of the request that it answers."""

        def label(found: re.Match[str]) -> str:
            known = sum(each.endswith(f"of {name}>") for each in self._names.values())
            return self._names.setdefault(found[0], f"<id {known + 1} of {name}>")

        return DIGEST.sub(self._digest, self._plain(UUID.sub(label, text)))

    def made(self, data: bytes, name: str) -> None:
        """Remember a picture of the service's own: its bytes and their digest differ each time."""
        self._made.setdefault(hashlib.sha256(data).hexdigest(), f"<sha256 of a picture of {name}>")

    def _digest(self, found: re.Match[str]) -> str:
        return self._made.get(found[0], found[0])

    def answer(self, response: requests.Response, name: str, moving: bool) -> dict[str, Any]:
        """Status, headers and body."""
        headers = {}
        for header, value in response.headers.items():
            header = header.lower()
            if header not in LEFT_OUT:
                headers[header] = "<there>" if header in THERE else self.text(value, name)
        if "allow" in headers:  # a set's order, which differs from one process to the next
            headers["allow"] = ", ".join(sorted(headers["allow"].split(", ")))
        if re.fullmatch(r"[0-9a-f]{32}", headers.get("x-request-id", "")):
            headers["x-request-id"] = "<request id>"
        found = {"status": response.status_code, "headers": headers}
        if moving and "x-seed" in headers:
            headers |= {"x-seed": "<there>", "content-disposition": "<there>"}
        kind = headers.get("content-type", "")
        return found | {"body": self.body(response.content, kind, name, moving)}

    def body(self, data: bytes, kind: str, name: str, moving: bool) -> Any:
        """A body by its media type."""
        kind = kind.partition(";")[0]
        if kind.startswith(("image/", "video/")) and kind != "image/svg+xml":
            shown = media(data, self._plain) if data else {}
            return {key: shown[key] for key in shown if not moving or key not in ("pixels", "xmp")}
        if kind == "text/event-stream":
            return self.events(data.decode(), name)
        if kind.endswith("json") and data:
            return self.value(json.loads(data), name, moving)
        return self.text(data.decode(errors="replace"), name)

    def value(self, value: Any, name: str, moving: bool) -> Any:
        """A JSON value. moving: leave out what a job that goes on has."""
        if isinstance(value, dict):
            left_out = MOVING if moving else ()
            return {
                key: "<seconds>" if key in SECONDS and below else self.value(below, name, moving)
                for key, below in value.items()
                if key not in left_out
            }
        if isinstance(value, list):
            return [self.value(below, name, moving) for below in value]
        if isinstance(value, str) and ENCODED.fullmatch(value):
            return media(base64.b64decode(value.rpartition(",")[2]), self._plain)
        return self.text(value, name) if isinstance(value, str) else value

    def events(self, text: str, name: str) -> Any:
        """Server-sent events: the last one with its data; of the others, how many come with time
        and not with the job, the names.
        """
        names, last = [], ""
        for line in text.splitlines():
            field, _, value = line.partition(": ")
            if field == "event":
                names.append(value)
            elif field == "data":
                last = value
        last_value = self.value(json.loads(last), name, False) if last else None
        return {"names": sorted(set(names)), "last": names[-1:], "data": last_value}


def media(data: bytes, plain: Callable[[str], str]) -> dict[str, Any]:
    """A picture or video: format, size, sha256 of the decoded pixels, and what its XMP says."""
    found: dict[str, Any]
    if data[4:8] == b"ftyp":
        digest, frames = hashlib.sha256(), 0
        with av.open(io.BytesIO(data)) as container:
            stream = container.streams.video[0]
            found = {"format": "MP4", "size": [stream.width, stream.height]}
            found["codec"], found["rate"] = stream.codec_context.name, str(stream.average_rate)
            found["streams"] = [each.type for each in container.streams]
            for frame in container.decode(stream):
                digest.update(frame.to_ndarray(format="rgb24").tobytes())
                frames += 1
        found |= {"frames": frames, "pixels": digest.hexdigest()}
    else:
        with Image.open(io.BytesIO(data)) as image:
            pixels = hashlib.sha256(image.tobytes()).hexdigest()
            found = {"format": image.format, "mode": image.mode, "size": list(image.size)}
            found["pixels"] = pixels
    packets = [plain(UUID.sub("<id>", packet.decode())) for packet in XMP.findall(data)]
    return found | {"signed": b"c2pa" in data, "xmp": packets}
