"""Addresses of finished images: signed, so that no one guesses one, and expiring. They need no
token: a client fetches them with none.

The threat: pictures show people; those who have not been given an address must not see them.
The mechanism: an address names job, picture and time of expiry, and carries their HMAC-SHA256 under
a key that lies in the service's folder. Its limits: an address works for everybody who has it,
until it expires.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from pathlib import Path

from avatar_pipeline.service.errors import NotFound
from avatar_pipeline.service.http.private_files import write_private

KEY = "signing.key"


def signing_key(folder: Path) -> bytes:
    """Return the service's key, made at first use and readable by its owner only."""
    path = folder / KEY
    if not path.exists():
        write_private(path, secrets.token_bytes(32))
    return path.read_bytes()


def picture_path(key: bytes, job_id: str, file: str, hours: float) -> str:
    """Return path and query of an image's address, valid for `hours` from now."""
    expires = int(time.time() + hours * 3600)
    signature = _sign(key, job_id, file, expires)
    return f"/api/images/{job_id}/{file}?expires={expires}&signature={signature}"


def check_signature(key: bytes, job_id: str, file: str, expires: int, signature: str) -> None:
    """Raise NotFound for a wrong signature and for an address that has expired."""
    if not hmac.compare_digest(_sign(key, job_id, file, expires).encode(), signature.encode()):
        raise NotFound("There is no such picture.")
    if expires < time.time():
        raise NotFound("This address has expired. Ask for the picture again.", code="expired")


def _sign(key: bytes, job_id: str, file: str, expires: int) -> str:
    return hmac.new(key, f"{job_id}/{file}/{expires}".encode(), hashlib.sha256).hexdigest()
