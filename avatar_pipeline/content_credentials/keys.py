"""The key and the certificates with which pictures are signed: the user's own, or a self-signed
pair that is made for trying out.

AVATAR_C2PA_KEY and AVATAR_C2PA_CHAIN name the user's own PEM files. Without them the pair lies in
the home folder, credentials/: key.pem (mode 0600), chain.pem (the signer's certificate, then the
root's) and root.pem, which is for those who want to trust it. The root's key
signs once and is thrown away: no second signer can be made under it.
"""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from avatar_pipeline.content_credentials.self_signed import CHAIN, KEY, make_certificates
from avatar_pipeline.core.errors import CredentialsError
from avatar_pipeline.core.home import home_folder

if TYPE_CHECKING:
    from cryptography import x509

KEY_VARIABLE, CHAIN_VARIABLE = "AVATAR_C2PA_KEY", "AVATAR_C2PA_CHAIN"
ORGANISATION = "avatar_pipeline, self-signed"
# What a signer's certificate may be for: e-mail protection, document signing (RFC 9336), C2PA claim
# signing (C2PA 2.4, section 14.5.1.1).
PURPOSES = {"1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.36", "1.3.6.1.4.1.62558.2.1"}
MAKE = (
    "avatar-pipeline credentials new makes a self-signed pair; docs/content-credentials.md says "
    "what your own must be like."
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Credentials:
    """What is signed with. key, chain: PEM. own: whether the user named the files. until: when the
    signer's certificate ends, UTC.
    """

    key: bytes
    chain: bytes
    key_path: Path
    chain_path: Path
    own: bool
    certificates: tuple[x509.Certificate, ...]

    @property
    def until(self) -> datetime:
        """When the first of the certificates ends."""
        return min(certificate.not_valid_after_utc for certificate in self.certificates)

    @property
    def self_signed(self) -> bool:
        """Whether the chain ends in a root of its own, which only those trust who were given it."""
        last = self.certificates[-1]
        return last.subject == last.issuer

    @property
    def signer(self) -> str:
        """Who signs, as the certificate says."""
        return self.certificates[0].subject.rfc4514_string()


def folder() -> Path:
    """Return where the self-signed pair lies, made or not."""
    return home_folder() / "credentials"


def own_places() -> tuple[str, str]:
    """Return what the user's variables say, empty where they say nothing."""
    return os.environ.get(KEY_VARIABLE, ""), os.environ.get(CHAIN_VARIABLE, "")


def exist() -> bool:
    """Return whether there is something to sign with already, usable or not. Raises
    CredentialsError when only one of the two variables is set.
    """
    key, _, own = places()
    return own or key.parent.exists()


def places() -> tuple[Path, Path, bool]:
    """Return key, chain, and whether the user named them. Raises CredentialsError when only one of
    the two variables is set.
    """
    key, chain = own_places()
    if bool(key) != bool(chain):
        there, missing = (KEY_VARIABLE, CHAIN_VARIABLE) if key else (CHAIN_VARIABLE, KEY_VARIABLE)
        raise CredentialsError(
            f"{there} is set and {missing} is not: set both, each to a PEM file, or neither."
        )
    if key and chain:
        return Path(key).expanduser(), Path(chain).expanduser(), True
    return folder() / KEY, folder() / CHAIN, False


def current() -> Credentials:
    """Return the credentials to sign with now; a self-signed pair is made at the first use. Raises
    CredentialsError when they cannot be used.
    """
    key, chain, own = places()
    if not own and not key.exists():
        make_pair(reuse=True)
    loaded = _loaded(key, chain, own, _stamp(key), _stamp(chain))
    _check_dates(loaded)
    return loaded


def make_pair(organisation: str = ORGANISATION, *, reuse: bool = False) -> Path:
    """Make a self-signed pair in the home folder; returns its folder. All of it appears at once.

    reuse: take the one that another process has made meanwhile. Raises CredentialsError when there
    is one and it is not to be reused.
    """
    from filelock import FileLock

    # ub-organization-name of RFC 5280
    if not organisation.strip() or len(organisation) > 64 or not organisation.isprintable():
        raise CredentialsError(
            "--name: give the organisation's name: at most 64 characters on one line."
        )
    target = folder()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(".credentials.lock")):
            if target.exists():
                if reuse and (target / KEY).exists():
                    return target
                raise CredentialsError(
                    f"{target} is there already, and pictures may have been signed with it. To "
                    "sign with a new pair, move that folder "
                    "away first; keep its root.pem: it tells that the pictures signed so far are "
                    "yours."
                )
            temporary = target.with_name(f".credentials.{os.getpid()}.tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(mode=0o700)
            for name, data in make_certificates(organisation).items():
                _write(temporary / name, data, 0o600 if name == KEY else 0o644)
            temporary.replace(target)
    except OSError as error:
        raise CredentialsError(
            f"{target} cannot be written ({error}). Fix that, or name your own: {_own()}."
        ) from None
    log.warning(
        "%s: a self-signed pair was made to sign pictures with. Others can check such signatures, "
        "and see that no one vouches for you: %s",
        target,
        "docs/content-credentials.md says how to use a key of your own.",
    )
    return target


def _own() -> str:
    return f"{KEY_VARIABLE} and {CHAIN_VARIABLE}, two PEM files"


def _write(path: Path, data: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123  # a descriptor
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return what changes when a file does. Raises CredentialsError when there is none."""
    try:
        found = path.stat()
    except OSError as error:
        raise CredentialsError(
            f"{path}: the key or certificate to sign with cannot be read ({error.strerror}). {MAKE}"
        ) from None
    return found.st_mtime_ns, found.st_size, found.st_ino


@lru_cache(maxsize=8)
def _loaded(
    key_path: Path, chain_path: Path, own: bool, key_stamp: object, chain_stamp: object
) -> Credentials:
    """Read and check, once as long as the files stay as they are."""
    key, chain = _read(key_path), _read(chain_path)
    certificates = _certificates(chain, chain_path)
    _check_key(key, key_path, certificates[0], chain_path)
    _check_signer(certificates[0], chain_path)
    _check_order(certificates, chain_path)
    return Credentials(key, chain, key_path, chain_path, own, certificates)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialsError(
            f"{path} cannot be read ({error.strerror}). Give this user the right to read it. {MAKE}"
        ) from None


def _certificates(chain: bytes, path: Path) -> tuple[x509.Certificate, ...]:
    from cryptography import x509

    try:
        return tuple(x509.load_pem_x509_certificates(chain))
    except ValueError as error:
        raise CredentialsError(f"{path} holds no certificates in PEM ({error}). {MAKE}") from None


def _check_key(key: bytes, path: Path, leaf: x509.Certificate, chain_path: Path) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        loaded = load_pem_private_key(key, password=None)
    except TypeError:
        raise CredentialsError(
            f"{path} is encrypted. Decrypt it: openssl pkey -in {path} -out FILE; then protect "
            "FILE."
        ) from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CredentialsError(f"{path} holds no private key in PEM ({error}). {MAKE}") from None
    if not isinstance(loaded, ec.EllipticCurvePrivateKey) or not isinstance(
        loaded.curve, ec.SECP256R1
    ):
        raise CredentialsError(f"{path} is no P-256 key: pictures are signed with ES256. {MAKE}")
    if loaded.public_key() != leaf.public_key():
        raise CredentialsError(
            f"{path} and {chain_path} do not belong together: the first certificate is of another "
            "key. The signer's certificate comes "
            "first in the chain, its issuers after it."
        )


def _check_signer(leaf: x509.Certificate, path: Path) -> None:
    """Check what C2PA requires of a signer's certificate: another would sign, and read Invalid
    everywhere.
    """
    from cryptography import x509

    try:
        purposes = {
            purpose.dotted_string
            for purpose in leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        }
        signs = leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except (x509.ExtensionNotFound, ValueError):
        purposes, signs = set(), False
    if not signs or not purposes & PURPOSES:
        raise CredentialsError(
            f"{path}: its first certificate is not for signing content: key usage "
            "digitalSignature and extended key usage "
            "emailProtection, documentSigning or C2PA claim signing are needed. Ask your "
            f"authority for such a one, or: {MAKE}"
        )


def _check_order(certificates: tuple[x509.Certificate, ...], path: Path) -> None:
    from cryptography.exceptions import InvalidSignature

    for number, (certificate, issuer) in enumerate(pairwise(certificates), 1):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            raise CredentialsError(
                f"{path}: certificate {number} was not issued by certificate {number + 1}. Put "
                "each issuer behind what it issued."
            ) from None


def _check_dates(credentials: Credentials) -> None:
    now = datetime.now(UTC)
    remedy = (
        "Renew it with your authority."
        if credentials.own
        else f"Move {credentials.chain_path.parent} away; a new pair is then made."
    )
    for certificate in credentials.certificates:
        subject = certificate.subject.rfc4514_string()
        if certificate.not_valid_after_utc < now:
            ended = f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
            raise CredentialsError(
                f"{credentials.chain_path}: the certificate of {subject} expired on {ended}. "
                f"{remedy}"
            )
        if certificate.not_valid_before_utc > now:
            begins = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            raise CredentialsError(
                f"{credentials.chain_path}: the certificate of {subject} is valid from {begins} "
                "on. Check this machine's clock."
            )
