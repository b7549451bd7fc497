"""Files that only the service's own user may read: keys and hashes of tokens."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from avatar_pipeline.actors.files import unwritable


def write_private(path: Path, data: bytes) -> None:
    """Write a file whole, with mode 0600 from its first moment. Raises StoreError when the disk
    does not take it.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123  # a descriptor
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise unwritable(path, error) from error
