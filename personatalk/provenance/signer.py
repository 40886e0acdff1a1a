"""The signer of C2PA manifests: the user's own certificate and key, or the local ones."""

from __future__ import annotations

import datetime
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import c2pa
import cv2
import numpy as np
import platformdirs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from ..errors import CredentialsError
from .certificates import CERTIFICATE_FILE, KEY_FILE, make_local_pair, pkcs8, write_pair

# Environment variables that name the user's own certificate chain and private key.
CERTIFICATE_VARIABLE = "PERSONATALK_CERTIFICATE"
KEY_VARIABLE = "PERSONATALK_PRIVATE_KEY"
# C2PA's name of the signature algorithm by elliptic curve.
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
# Settings of the C2PA library for signing and for reading.
SETTINGS: dict[str, Any] = {
    "builder": {"thumbnail": {"enabled": False}},
    # Larger files go through temporary files: memory must not grow with the video.
    "core": {"backing_store_memory_threshold_in_mb": 16},
    # Everything works without a network: what cannot be looked up is reported as unknown.
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
}


@dataclass(frozen=True)
class Signer:
    """A certificate and its private key.

    Attributes:
        chain: Certificates in PEM, the signer's own first.
        key: The private key in PEM (PKCS 8).
        algorithm: C2PA's name of the signature algorithm.
        name: Common name in the certificate.
        local: Whether PersonaTalk made the certificate itself; no authority vouches for it then.
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
            return cls.local_signer()
        if certificate is None or key is None:
            missing = "certificate" if certificate is None else "private key"
            raise CredentialsError(f"signing needs a certificate and its private key; the {missing} is not given")
        return _read_signer(Path(certificate), Path(key), local=False)

    @classmethod
    def local_signer(cls, folder: Path | None = None) -> Signer:
        """Return the certificate that PersonaTalk makes at first use for everything that this user signs.

        Where the folder cannot be written, a certificate is made for this run alone, with a warning.

        Args:
            folder: The folder of its two files; `config_folder()` / "signing" where None.

        Raises:
            CredentialsError: The files are damaged or out of date.
        """
        folder = folder or config_folder() / "signing"
        warnings: tuple[str, ...] = ()
        if not folder.is_dir():
            try:
                make_local_pair(folder)
            except OSError as error:
                warning = f"no certificate can be kept in {folder} ({error.strerror}); this video has one of its own"
                with tempfile.TemporaryDirectory() as name:
                    write_pair(Path(name))
                    return _read_signer(Path(name) / CERTIFICATE_FILE, Path(name) / KEY_FILE, True, (warning,))
            warnings = (f"a certificate was made in {folder}; nobody vouches for it, so it is not trusted elsewhere",)
        try:
            return _read_signer(folder / CERTIFICATE_FILE, folder / KEY_FILE, True, warnings)
        except CredentialsError as error:
            raise CredentialsError(f"{error}; or delete {folder}, and a new one is made") from error


def config_folder() -> Path:
    """Return the user's configuration folder of PersonaTalk, which may not exist yet."""
    return platformdirs.user_config_path("personatalk", appauthor=False, roaming=True)


def _read_signer(certificate: Path, key: Path, local: bool, warnings: tuple[str, ...] = ()) -> Signer:
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
    signer = Signer(chain, pkcs8(private), _algorithm(private, key), name, local, warnings)
    _check_by_signing(signer, certificate)
    return signer


def read_file(path: Path, what: str) -> bytes:
    """Read a file that the user named.

    Args:
        path: The file.
        what: Its role, for the error message.

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
    """Return C2PA's name of the algorithm that a key signs with."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    raise CredentialsError(f"{path}: C2PA does not know this kind of key; use ECDSA P-256, Ed25519 or RSA")


def _check_by_signing(signer: Signer, certificate: Path) -> None:
    """Sign an image of one pixel, so that a certificate that C2PA refuses is known before the work."""
    _, png = cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(png.tobytes())
        source.seek(0)
        try:
            with c2pa.Context.from_dict(SETTINGS) as context, c2pa.Builder({}, context) as builder:
                builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.TRAINED_ALGORITHMIC_MEDIA)
                builder.sign(native_signer(signer), "image/png", source, target)
        except c2pa.C2paError as error:
            raise CredentialsError(
                f"{certificate}: C2PA refuses this certificate ({error}); give a chain for document signing"
            ) from error


def native_signer(signer: Signer) -> c2pa.Signer:
    """Return the signer as an object of the C2PA library."""
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(signer.algorithm, signer.chain, signer.key, None))
