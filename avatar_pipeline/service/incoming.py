"""Pictures and videos that come with a request, as a file or by an address: the only door for them.

Each is read, its sha256 taken as it came, and the real people whom it shows are asked for
(people.py, gate.py) before it is decoded: what shows a person whose consent does not hold is
refused, and what is taken carries its people into the job.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from urllib.parse import parse_qs, urlsplit

from fastapi import Request, UploadFile
from PIL import Image

from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import ConsentRequired, InvalidInput
from avatar_pipeline.imaging.images import MAX_BYTES
from avatar_pipeline.service.context import Service
from avatar_pipeline.service.errors import NotFound
from avatar_pipeline.service.gate import people_of, picture_file
from avatar_pipeline.service.http.fetch import fetch_bytes
from avatar_pipeline.service.http.image_links import check_signature
from avatar_pipeline.service.http.uploads import decode, read_file
from avatar_pipeline.tasks.likeness import People

PICTURES = "image/jpeg, image/png, image/webp"
_OWN = re.compile(r"(?:/.*)?/api/images/([0-9a-f-]{36})/([a-z0-9_]{1,40}\.(?:png|jpg|webp|mp4))")


async def receive_image(
    service: Service,
    request: Request,
    given: UploadFile | str,
    *,
    field: str,
    name: str | None = None,
) -> Image.Image:
    """Return an uploaded picture, or the one at an http, https or data: address, as open_image
    gives it: upright, RGB, 8 bit.

    field: of the request. name: of the task's file, where it has another. Raises InvalidInput
    naming the field, ConsentRequired when it shows a person whose consent does not hold.
    """
    data = await receive(
        service, request, given, field=field, name=name or field, limit=MAX_BYTES, accept=PICTURES
    )
    return await decode(data, field=field)


async def receive(
    service: Service,
    request: Request,
    given: UploadFile | str,
    *,
    field: str,
    name: str,
    limit: int,
    accept: str,
) -> bytes:
    """Return the bytes of an upload, or of what an address gives, at most `limit`. accept: media
    types to ask a host for.

    A signed address of a picture of this service is read from disk. `submit` keeps with the job
    what is noted in request.state here. Raises as `receive_image` does.
    """
    shown: set[str] = set()
    if not isinstance(given, str):
        data = await read_file(given, field=field, limit=limit)
    elif (own := await asyncio.to_thread(_own_picture, service, given, field)) is not None:
        data, shown = own
        if len(data) > limit:
            raise InvalidInput(
                f"{field}: the file is longer than {limit >> 20} MiB.",
                field=field,
                code="too_large",
            )
    else:
        data = await fetch_bytes(
            given, field=field, settings=service.settings, limit=limit, accept=accept
        )
    digest = sha256_bytes(data)
    shown |= await asyncio.to_thread(partial(service.people.shown_by, digest, now=True))
    try:
        await asyncio.to_thread(People(service.store, sorted(shown)).require)
    except ConsentRequired:
        raise _not_consented(field) from None
    state = request.state
    state.sha256 = {**getattr(state, "sha256", {}), name: digest}
    state.people = sorted({*getattr(state, "people", ()), *shown})
    return data


def _own_picture(service: Service, url: str, field: str) -> tuple[bytes, set[str]] | None:
    """Return the content of a picture of this service and whom it shows; None when the address is
    none of this service's.

    Through the network it would be refused as a private address wherever the service listens on
    one. Raises InvalidInput when the address has expired or the picture is gone, ConsentRequired
    when it is not handed out any more.
    """
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        found = _OWN.fullmatch(parts.path)
        if found is None:
            return None
        job_id, file = found.groups()
        expires, signature = int(query["expires"][0]), query["signature"][0]
    except (ValueError, KeyError):
        return None
    try:
        check_signature(service.key, job_id, file, expires, signature)
    except NotFound as error:
        if error.code != "expired":
            return None
        raise InvalidInput(f"{field}: {error}", field=field, code="expired") from None
    try:
        job, path = picture_file(service, job_id, file)
    except NotFound as error:
        raise InvalidInput(f"{field}: {error}", field=field, code="expired") from None
    except ConsentRequired:
        raise _not_consented(field) from None
    return path.read_bytes(), people_of(service, job)


def _not_consented(field: str) -> ConsentRequired:
    return ConsentRequired(
        f"{field}: it shows a real person whose consent to this use does not hold today. Nothing "
        "was kept. Send another picture; the operator of this service can see and renew the "
        "consent: avatar-pipeline consent show.",
        field=field,
        code="no_consent",
    )
