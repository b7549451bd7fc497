"""Bearer tokens: several, each with a name, kept as hashes in tokens.json in the service's folder
(mode 0600).

The threat: a stranger reads the file, from a backup for instance, or tries tokens out.
The mechanism: a token is 256 random bits, shown once; the file holds its SHA-256. A slow hash
(bcrypt, argon2) protects secrets that people choose and that can be guessed; 2^256 random ones
cannot be guessed at any speed, and a slow hash would be paid by every request. A token is compared
with all hashes, each in constant time. The file is read again when it changes: a revoked token
stops at once.
Its limits: tokens do not expire by themselves, and each may do everything that the service does.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from hmac import compare_digest
from pathlib import Path

from pydantic import BaseModel, ValidationError

from avatar_pipeline.core.errors import AvatarPipelineError
from avatar_pipeline.service.errors import Unavailable
from avatar_pipeline.service.http.private_files import write_private

FILE = "tokens.json"
PREFIX = "avt_"  # so that secret scanners and people know what they have found
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

log = logging.getLogger(__name__)


class TokenError(AvatarPipelineError):
    """A token's name is taken, unknown or not usable, or the file of tokens cannot be read."""


class Token(BaseModel):
    """What is kept of a token."""

    name: str
    sha256: str
    created: datetime


class _File(BaseModel):
    tokens: list[Token] = []


def new_token(folder: Path, name: str) -> str:
    """Make a token and return it: it cannot be shown again. Raises TokenError when the name is
    taken or not usable.
    """
    if not NAME.fullmatch(name):
        raise TokenError(
            f"{name!r} is no name for a token: letters, digits, '_', '.', '-', at most 64, the "
            "first a letter or digit."
        )
    tokens = load(folder)
    if any(token.name == name for token in tokens):
        raise TokenError(
            f"There is a token {name!r} already. Choose another name, or: "
            f"avatar-pipeline token revoke {name}"
        )
    secret = PREFIX + secrets.token_urlsafe(32)
    _save(folder, [*tokens, Token(name=name, sha256=_digest(secret), created=datetime.now(UTC))])
    return secret


def revoke(folder: Path, name: str) -> None:
    """Take a token back. Raises TokenError when there is none of that name."""
    tokens = load(folder)
    kept = [token for token in tokens if token.name != name]
    if len(kept) == len(tokens):
        raise TokenError(f"There is no token {name!r}. See: avatar-pipeline token list")
    _save(folder, kept)


def load(folder: Path) -> list[Token]:
    """Return all tokens, oldest first. Raises TokenError when the file cannot be read."""
    path = folder / FILE
    try:
        return _File.model_validate_json(path.read_bytes()).tokens
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise TokenError(
            f"{path} cannot be read ({reason}). Put it back, or remove it and make new tokens."
        ) from None


def owner(tokens: Sequence[Token], given: str) -> str | None:
    """Return the name of a token, None for an unknown one. Takes as long for the first as for the
    last.
    """
    digest, found = _digest(given), None
    for token in tokens:
        if compare_digest(token.sha256, digest):
            found = token.name
    return found


class Tokens:
    """The tokens of a running server. Once there were some, requests without one are refused, even
    when all are revoked.
    """

    def __init__(self, folder: Path, *, required: bool = False) -> None:
        self._path = folder / FILE
        self._seen: tuple[int, int, int] | None = (0, 0, 0)  # of no file: it is read at first use
        self._tokens: list[Token] | None = []
        self._required = required

    @property
    def required(self) -> bool:
        """Return whether requests need a token."""
        self._read()
        return self._required

    def owner(self, given: str) -> str | None:
        """Return the name of a token, None for an unknown one. Raises Unavailable while the file
        cannot be read.
        """
        self._read()
        if self._tokens is None:
            raise Unavailable(
                "The service cannot read its tokens. Its log says why.",
                code="tokens_unreadable",
                retry_after=60,
            )
        return owner(self._tokens, given)

    def _read(self) -> None:
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            stamp = None
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._tokens = load(self._path.parent)
            self._required = self._required or bool(self._tokens)
        except TokenError as error:
            log.error("%s", error)
            self._tokens, self._required = None, True


def _save(folder: Path, tokens: list[Token]) -> None:
    write_private(folder / FILE, _File(tokens=tokens).model_dump_json(indent=1).encode())


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
