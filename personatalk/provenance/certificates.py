"""personatalk.provenance.certificates."""

from __future__ import annotations

import datetime
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import c2pa
import cv2
import numpy as np
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..errors import CredentialsError

CERTIFICATE_VARIABLE = "PERSONATALK_CERTIFICATE"

KEY_VARIABLE = "PERSONATALK_PRIVATE_KEY"

LOCAL_NAME = "PersonaTalk local certificate"
"""Common name in certificates that PersonaTalk makes for itself."""

LOCAL_YEARS = 10


SETTINGS: dict[str, Any] = {
    "builder": {"thumbnail": {"enabled": False}},
    # What is larger than this goes through temporary files: memory must not grow with the video.
    "core": {"backing_store_memory_threshold_in_mb": 16},
    # Everything works without a network: what cannot be looked up is said to be unknown, not waited for.
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
}

CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True)
class Signer:
    """Who signs.

    Attributes:
        chain: Certificates in PEM, the signer's own first.
        key: The private key in PEM (PKCS 8).
        algorithm: C2PA's name of the signature algorithm.
        name: Common name of the certificate.
        local: Whether PersonaTalk made the certificate itself, so that nobody vouches for it.
        warnings: What the user should know.
    """

    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)
    algorithm: str
    name: str
    local: bool
    warnings: tuple[str, ...] = ()

    @classmethod
    def load(cls, certificate: Path | str | None = None, key: Path | str | None = None) -> Signer:
        """Read a certificate and its key, and make sure that they can sign.

        Args:
            certificate: PEM file of the chain, the signer's own certificate first. None takes the path in the
                environment variable `PERSONATALK_CERTIFICATE`, and without one the local certificate.
            key: PEM file of the private key; None takes `PERSONATALK_PRIVATE_KEY`.

        Raises:
            CredentialsError: Only one of the two is given, a file cannot be read, they do not belong together, or the
                certificate is out of date or not made for C2PA.
        """
        certificate = certificate or os.environ.get(CERTIFICATE_VARIABLE) or None
        key = key or os.environ.get(KEY_VARIABLE) or None
        if certificate is None and key is None:
            return cls.local_one()
        if certificate is None or key is None:
            missing = "certificate" if certificate is None else "private key"
            raise CredentialsError(f"signing needs a certificate and its private key; the {missing} is not given")
        return _signer(Path(certificate), Path(key), local=False)

    @classmethod
    def local_one(cls, folder: Path | None = None) -> Signer:
        """The certificate that PersonaTalk makes for itself at first use, for everything that this user signs.

        Where the folder cannot be written, one is made for this run alone, with a warning.

        Args:
            folder: Where it lies; `config_folder()` / "signing" where None.

        Raises:
            CredentialsError: The files are damaged or out of date.
        """
        folder = folder or config_folder() / "signing"
        warnings: tuple[str, ...] = ()
        if not folder.is_dir():
            try:
                _make_local(folder)
            except OSError as error:
                warning = f"no certificate can be kept in {folder} ({error.strerror}); this video has one of its own"
                with tempfile.TemporaryDirectory() as name:
                    _write_local(Path(name))
                    return _signer(Path(name) / "certificate.pem", Path(name) / "key.pem", True, (warning,))
            warnings = (f"a certificate was made in {folder}; nobody vouches for it, so it is not trusted elsewhere",)
        try:
            return _signer(folder / "certificate.pem", folder / "key.pem", True, warnings)
        except CredentialsError as error:
            raise CredentialsError(f"{error}; or delete {folder}, and a new one is made") from error


def config_folder() -> Path:
    """The user's configuration folder of PersonaTalk, which may not exist: `XDG_CONFIG_HOME` or the platform's own."""
    named = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    if Path(named).is_absolute():
        base = Path(named)
    elif sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path.home() / ".config"
    return base / "personatalk"


def _make_local(folder: Path) -> None:
    """Make certificate and key; of several jobs that do so at once one wins, and all use its files."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".signing.", dir=folder.parent))
    try:
        _write_local(made)
        # A folder with files in it is never replaced by a rename, so the first one stays.
        made.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write_local(folder: Path) -> None:
    """Write `key.pem` (for the user alone) and `certificate.pem`, signed by an authority whose key is thrown away.

    C2PA does not take certificates that sign themselves, hence the authority.
    """
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = _name(f"{LOCAL_NAME} authority")
    authority = (
        _certificate(authority_name, authority_name, authority_key.public_key(), authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    own = (
        _certificate(_name(LOCAL_NAME), authority_name, key.public_key(), authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    with os.fdopen(os.open(folder / "key.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(_pkcs8(key))
    pem = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(own.public_bytes(pem) + authority.public_bytes(pem))


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


def _usage(**allowed: bool) -> x509.KeyUsage:
    all_names = "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
    all_names += " key_cert_sign crl_sign encipher_only decipher_only"
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in all_names.split()})


def _pkcs8(key: Any) -> bytes:
    return bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _signer(certificate: Path, key: Path, local: bool, warnings: tuple[str, ...] = ()) -> Signer:
    """Read and check the two files."""
    chain = read_file(certificate, "certificate")
    try:
        own = x509.load_pem_x509_certificates(chain)[0]
    except ValueError as error:
        raise CredentialsError(f"{certificate}: no certificate in PEM; give the chain, your own first") from error
    private = _private_key(key)
    if private.public_key() != own.public_key():
        raise CredentialsError(f"{key}: this private key does not belong to the first certificate of {certificate}")
    now = datetime.datetime.now(datetime.timezone.utc)
    if not own.not_valid_before_utc <= now <= own.not_valid_after_utc:
        dates = f"{own.not_valid_before_utc:%Y-%m-%d} to {own.not_valid_after_utc:%Y-%m-%d}"
        raise CredentialsError(f"{certificate}: valid from {dates} only; give one that is valid today")
    names = own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if names else own.subject.rfc4514_string()
    signer = Signer(chain, _pkcs8(private), _algorithm(private, key), name, local, warnings)
    _try(signer, certificate)
    return signer


def read_file(path: Path, what: str) -> bytes:
    """Read a file of the signer.

    Raises:
        CredentialsError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialsError(f"{path}: the {what} cannot be read ({error.strerror}); check the name") from error


def _private_key(path: Path) -> Any:
    try:
        return serialization.load_pem_private_key(read_file(path, "private key"), password=None)
    except TypeError as error:
        raise CredentialsError(f"{path}: the private key is encrypted; give it without a password") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CredentialsError(f"{path}: no private key in PEM; give the key of your certificate") from error


def _algorithm(key: Any, path: Path) -> str:
    """C2PA's name of the algorithm that a key signs with."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    raise CredentialsError(f"{path}: C2PA does not know this kind of key; use ECDSA P-256, Ed25519 or RSA")


def _try(signer: Signer, certificate: Path) -> None:
    """Sign a picture of one pixel, so that a certificate that C2PA refuses is known before the work."""
    _, png = cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(png.tobytes())
        source.seek(0)
        try:
            with c2pa.Context.from_dict(SETTINGS) as context, c2pa.Builder({}, context) as builder:
                builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.TRAINED_ALGORITHMIC_MEDIA)
                builder.sign(native_calls(signer), "image/png", source, target)
        except c2pa.C2paError as error:
            raise CredentialsError(
                f"{certificate}: C2PA refuses this certificate ({error}); give a chain for document signing"
            ) from error


def native_calls(signer: Signer) -> c2pa.Signer:
    """Return the signer as the C2PA library takes it."""
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(signer.algorithm, signer.chain, signer.key, None))
