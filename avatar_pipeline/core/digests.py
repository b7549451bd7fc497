"""Digests: the sha256 of contents, in hexadecimal. They are the identity of a file, and Dagster's
data version of an asset.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

SHORT_DIGEST = 12  # digits of a digest that people compare
CHUNK = 1 << 20  # bytes read at once: a 24 GB checkpoint must not be loaded to be named


def short(digest: str) -> str:
    """Return the first digits of a digest, as many as people compare."""
    return digest[:SHORT_DIGEST]


def sha256_bytes(data: bytes) -> str:
    """Return the sha256 of some bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the sha256 of a local file, read in chunks. Within a process an unchanged file (size,
    mtime) is read only once.

    Raises OSError when the file cannot be read.
    """
    path = path.resolve()
    state = path.stat()
    return _sha256_file(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _sha256_file(path: Path, size: int, mtime_ns: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def digest_files(files: Mapping[str, bytes | str]) -> str:
    """Return the digest of a set of files: sha256 over the lines "name sha256", sorted by name.

    files: contents by name, or, where already known, their sha256. The order of the mapping does
    not matter.
    """
    hashes = {
        name: sha256_bytes(content) if isinstance(content, bytes) else content
        for name, content in files.items()
    }
    return sha256_bytes("".join(f"{name} {hashes[name]}\n" for name in sorted(hashes)).encode())
