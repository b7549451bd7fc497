"""GET /api/images/...: finished pictures, by their signed addresses."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from avatar_pipeline.service.context import ServiceDep
from avatar_pipeline.service.errors import NotFound
from avatar_pipeline.service.gate import people_of, picture_file
from avatar_pipeline.service.http.image_links import check_signature
from avatar_pipeline.service.jobs.job import PREVIEW

router = APIRouter(tags=["pictures"])

NAME = re.compile(r"[0-9a-f-]{36}/[a-z0-9_]{1,40}\.(png|jpg|webp|mp4)")


@router.head("/api/images/{job_id}/{file}", include_in_schema=False)
@router.get(
    "/api/images/{job_id}/{file}", response_class=FileResponse, summary="A finished picture"
)
def picture(
    service: ServiceDep,
    job_id: str,
    file: str,
    expires: Annotated[int, Query()],
    signature: Annotated[str, Query(max_length=64)],
) -> FileResponse:
    """A picture that a job made. The address comes with the job's answer; it needs no token, and
    works until it expires.
    """
    if not NAME.fullmatch(f"{job_id}/{file}"):
        raise NotFound("There is no such picture.")
    check_signature(service.key, job_id, file, expires, signature)
    job, path = picture_file(service, job_id, file)
    # A browser's cache would go on showing a person whose consent has ended.
    kept = "no-store" if file == PREVIEW or people_of(service, job) else "private, max-age=3600"
    return FileResponse(path, headers={"X-Content-Type-Options": "nosniff", "Cache-Control": kept})
