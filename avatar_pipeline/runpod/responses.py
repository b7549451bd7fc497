"""What an endpoint answers, read with care: bodies up to a limit, foreign words on one line, the
time to wait that Retry-After asks for.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests

MAX_DETAIL_CHARS = 500  # characters of a server's own words in a message


def printable(said: str, longest: int = MAX_DETAIL_CHARS) -> str:
    """Return foreign words for a message: on one line, without control characters, at most
    `longest` characters.
    """
    line = "".join(letter if letter.isprintable() else " " for letter in said[: 4 * longest])
    line = " ".join(line.split())
    return line if len(line) <= longest else line[:longest] + "..."


def read_capped(response: requests.Response, limit: int, seconds: float) -> bytes | None:
    """Return a streamed answer's body, unpacked; None when it is longer than `limit` bytes.

    Raises TimeoutError when it has not come within `seconds`: the library's own limit is for each
    packet, of which there may be many.
    """
    end = time.monotonic() + seconds
    parts, length = [], 0
    for part in response.iter_content(1 << 16):
        length += len(part)
        if length > limit:
            return None
        if time.monotonic() > end:
            raise TimeoutError
        parts.append(part)
    return b"".join(parts)


def retry_after(response: requests.Response) -> float | None:
    """Return seconds that the header Retry-After asks for, as a number or as a date; None when it
    does not, or in an unknown way.
    """
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
