"""Pictures and files that come with a request.

The threat: an upload may be anything of any length, and decoding a picture takes up to 700 MB.
The mechanism: a body is counted before it is parsed (middleware/body_limits.py); a picture is read
with imaging's cap and decoded by imaging.open_image, two at a time, off the event loop. What goes
on from here is made from its pixels. A file's name is never used.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from fastapi import UploadFile
from PIL import Image

from avatar_pipeline.core.errors import InvalidInput, PhotoError
from avatar_pipeline.imaging.images import open_image

_DECODERS = ThreadPoolExecutor(2, thread_name_prefix="decoding")


async def read_file(upload: UploadFile, *, field: str, limit: int) -> bytes:
    """Return an upload's bytes. Raises InvalidInput naming the field when there are more than
    `limit`.
    """
    data = await upload.read(limit + 1)
    if len(data) > limit:
        raise InvalidInput(
            f"{field}: the file is longer than {limit >> 20} MiB.", field=field, code="too_large"
        )
    return data


async def decode(data: bytes, *, field: str) -> Image.Image:
    """Decode an image with open_image, without holding up other requests. Raises InvalidInput
    naming the field.
    """
    try:
        return await asyncio.get_running_loop().run_in_executor(
            _DECODERS, partial(open_image, data, name=field)
        )
    except PhotoError as error:
        raise InvalidInput(str(error), field=field, code="invalid_image") from None
