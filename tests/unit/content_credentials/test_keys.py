"""Keys to sign with: made when there are none, refused with a reason when they cannot be used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from avatar_pipeline.content_credentials import keys
from avatar_pipeline.core.errors import CredentialsError

NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "HFU")])
PEM = Encoding.PEM


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    for variable in (keys.KEY_VARIABLE, keys.CHAIN_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "home"


def own(
    folder: Path,
    patch: pytest.MonkeyPatch,
    *,
    days: tuple[int, int] = (-1, 1),
    purpose: Any = ExtendedKeyUsageOID.EMAIL_PROTECTION,
    key: Any = None,
    password: bytes | None = None,
) -> tuple[Path, Path]:
    """A user's own key and certificate (which is its own issuer), named by the variables. days:
    valid from and until.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now + timedelta(days[0]))
        .not_valid_after(now + timedelta(days[1]))
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(
            x509.KeyUsage(True, False, False, False, False, False, False, False, False),
            critical=True,
        )
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    paths = folder / "own_key.pem", folder / "own_chain.pem"
    paths[0].write_bytes(key.private_bytes(PEM, PrivateFormat.PKCS8, encryption))
    paths[1].write_bytes(certificate.public_bytes(PEM))
    for variable, path in zip((keys.KEY_VARIABLE, keys.CHAIN_VARIABLE), paths, strict=True):
        patch.setenv(variable, str(path))
    return paths


def test_a_pair_is_made_at_the_first_use(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = keys.current()
    assert "a self-signed pair was made" in caplog.text
    assert keys.current() is first
    folder = home / "credentials"
    assert sorted(path.name for path in folder.iterdir()) == ["chain.pem", "key.pem", "root.pem"]
    assert [oct(path.stat().st_mode & 0o777) for path in (folder, folder / "key.pem")] == [
        "0o700",
        "0o600",
    ]
    assert (first.own, first.self_signed, len(first.certificates)) == (False, True, 2)
    with pytest.raises(CredentialsError, match="is there already"):
        keys.make_pair()
    assert keys.current() is first


@pytest.mark.child_process
def test_two_processes_at_once_make_one_pair(home: Path) -> None:
    code = (
        "from avatar_pipeline.content_credentials import keys; "
        "print(keys.current().certificates[0].serial_number)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert len({process.communicate(timeout=60)[0] for process in running}) == 1
    assert all(process.returncode == 0 for process in running)


def test_the_users_own_come_first(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, chain = own(tmp_path, monkeypatch)
    found = keys.current()
    assert (found.own, found.key_path, found.chain_path, found.signer) == (
        True,
        key,
        chain,
        "CN=HFU",
    )
    assert not home.exists()
    own(tmp_path, monkeypatch)  # renewed, under the same names
    assert keys.current().key != found.key


def only_one(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv(keys.KEY_VARIABLE, str(tmp_path / "key.pem"))


def missing(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    own(tmp_path, patch)[0].unlink()


def strangers(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    key, _ = own(tmp_path, patch)
    other = key.read_bytes()
    own(tmp_path, patch)
    key.write_bytes(other)


def text(index: int) -> Callable[[Path, pytest.MonkeyPatch], None]:
    def write(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
        own(tmp_path, patch)[index].write_text("no PEM")

    return write


def reversed_chain(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    _, chain = own(tmp_path, patch)
    leaf = chain.read_bytes()
    own(tmp_path, patch, key=ec.generate_private_key(ec.SECP256R1()))
    _, chain = own(tmp_path, patch)
    chain.write_bytes(chain.read_bytes() + leaf)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(
            only_one, "AVATAR_C2PA_KEY is set and AVATAR_C2PA_CHAIN is not", id="only_one"
        ),
        pytest.param(
            missing,
            r"own_key.pem: the key or certificate to sign with cannot be read",
            id="missing",
        ),
        pytest.param(strangers, "do not belong together", id="strangers"),
        pytest.param(text(0), "own_key.pem holds no private key in PEM", id="no_key"),
        pytest.param(text(1), "own_chain.pem holds no certificates in PEM", id="no_certificate"),
        pytest.param(reversed_chain, "certificate 1 was not issued by certificate 2", id="order"),
        pytest.param(
            lambda t, p: own(t, p, days=(-9, -1)),
            r"expired on .*Renew it with your "
            r"authority",
            id="expired",
        ),
        pytest.param(
            lambda t, p: own(t, p, days=(1, 9)),
            "is valid from .*Check this machine's clock",
            id="not_yet",
        ),
        pytest.param(
            lambda t, p: own(t, p, password=b"secret"), "is encrypted. Decrypt it", id="encrypted"
        ),
        pytest.param(
            lambda t, p: own(t, p, key=ed25519.Ed25519PrivateKey.generate()),
            "is no P-256 key",
            id="ed25519",
        ),
        pytest.param(
            lambda t, p: own(t, p, purpose=ExtendedKeyUsageOID.SERVER_AUTH),
            "is not for signing content",
            id="purpose",
        ),
    ],
)
def test_what_cannot_be_used_is_said(
    spoil: Callable[[Path, pytest.MonkeyPatch], Any],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoil(tmp_path, monkeypatch)
    with pytest.raises(CredentialsError, match=words):
        keys.current()


def test_a_pair_that_cannot_be_written_or_named(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CredentialsError, match="at most 64 characters"):
        keys.make_pair("x" * 65)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "file"))
    with pytest.raises(CredentialsError, match="cannot be written"):
        keys.current()
