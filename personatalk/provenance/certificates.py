"""The X.509 certificate and key that PersonaTalk makes for a user who has none."""

from __future__ import annotations

import datetime
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# Common name in the certificates.
LOCAL_NAME = "PersonaTalk local certificate"
# Years that they are valid for.
LOCAL_YEARS = 10
# Names of the two files in their folder.
CERTIFICATE_FILE = "certificate.pem"
KEY_FILE = "key.pem"
# Every use of a key that X.509 knows; each must be allowed or forbidden.
KEY_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def make_local_pair(folder: Path) -> None:
    """Make a folder with a certificate and its key.

    Of several processes that make the same folder at once, one wins and all use its files.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".signing.", dir=folder.parent))
    try:
        write_pair(made)
        # A folder with files in it is never replaced by a rename, so the first one stays.
        made.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def write_pair(folder: Path) -> None:
    """Write a certificate chain and a private key that only the user can read.

    C2PA does not accept certificates that sign themselves, so the certificate is signed by an authority, whose key is
    thrown away.

    Raises:
        OSError: A file cannot be written.
    """
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = _name(f"{LOCAL_NAME} authority")
    authority = (
        _certificate(authority_name, authority_name, authority_key.public_key(), authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    own = (
        _certificate(_name(LOCAL_NAME), authority_name, key.public_key(), authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    with os.fdopen(os.open(folder / KEY_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pkcs8(key))
    pem = serialization.Encoding.PEM
    (folder / CERTIFICATE_FILE).write_bytes(own.public_bytes(pem) + authority.public_bytes(pem))


def _name(common: str) -> x509.Name:
    pairs = ((NameOID.ORGANIZATION_NAME, "PersonaTalk (local, untrusted)"), (NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])


def _certificate(subject: x509.Name, issuer: x509.Name, key: Any, issuer_key: Any) -> x509.CertificateBuilder:
    # A day back: clocks of machines that share a home differ.
    start = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=365 * LOCAL_YEARS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def key_usage(**allowed: bool) -> x509.KeyUsage:
    """Return the certificate extension that allows the given uses of a key and no others."""
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in KEY_USES})


def pkcs8(key: Any) -> bytes:
    """Return a private key as PEM (PKCS 8) without a password."""
    return bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
