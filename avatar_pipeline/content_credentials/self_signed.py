"""A signing key for trying out: a P-256 key, and its certificate under a root made for it.

The root's key is thrown away after the one signature: no second signer can be made under it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

KEY, CHAIN, ROOT = "key.pem", "chain.pem", "root.pem"
# Without a time stamp of a third party, which would have to be asked over the network, a signature
# counts as long as its certificate.
YEARS = 10


def make_certificates(organisation: str) -> dict[str, bytes]:
    """Return the three files by name: a P-256 key, its certificate under a root made for it, and
    the root.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(what: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
                x509.NameAttribute(NameOID.COMMON_NAME, what),
            ]
        )

    def usage(*, signs: bool, certifies: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=signs,
            key_cert_sign=certifies,
            crl_sign=certifies,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )

    def certificate(subject: x509.Name, key: EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .issuer_name(name("root"))
            .subject_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))  # clocks differ
            .not_valid_after(now + timedelta(days=365 * YEARS))
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()),
                critical=False,
            )
        )

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = (
        certificate(name("root"), root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs=False, certifies=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        certificate(name("signer"), key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs=True, certifies=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
        )
        .sign(root_key, hashes.SHA256())
    )
    return {
        KEY: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        CHAIN: leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM),
        ROOT: root.public_bytes(Encoding.PEM),
    }
