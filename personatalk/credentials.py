"""Content Credentials (C2PA): a signed statement inside the video of what was generated, and its check.

The standard is https://c2pa.org/specifications; `c2pa-python` does the format. What is signed is a copy of the file
with one box more: pictures and sound stay as they are.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import shutil
import sys
import tempfile
import uuid
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

from . import __version__
from .errors import CredentialsError
from .files import sha256

DUB = "org.personatalk.dub"
"""Label of our own assertion: version, generated ranges in seconds, and hashes of the inputs."""
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's term for a picture of which a part was made by a trained model."""
FORMATS = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".3gp": "video/mp4",
    ".mov": "video/quicktime",
}
"""Containers that get a manifest. The standard has none for Matroska and WebM; for AVI it does, but the library keeps
such a file in memory."""
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
BLOCK = 1 << 20
BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
"""The name of the box of the MP4 family that holds a manifest."""


# ------------------------------------------------------------------------------------------------ signing


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
    chain = _read(certificate, "certificate")
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


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialsError(f"{path}: the {what} cannot be read ({error.strerror}); check the name") from error


def _private_key(path: Path) -> Any:
    try:
        return serialization.load_pem_private_key(_read(path, "private key"), password=None)
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
                builder.sign(_native(signer), "image/png", source, target)
        except c2pa.C2paError as error:
            raise CredentialsError(
                f"{certificate}: C2PA refuses this certificate ({error}); give a chain for document signing"
            ) from error


def _native(signer: Signer) -> c2pa.Signer:
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(signer.algorithm, signer.chain, signer.key, None))


# ------------------------------------------------------------------------------------------------ statement


@dataclass(frozen=True)
class Provenance:
    """What a user may choose about provenance.

    Attributes:
        on: Write tags, manifest and mark; they go together.
        certificate: PEM file of the signer's certificate chain; see `Signer.load`.
        key: PEM file of its private key.
    """

    on: bool = True
    certificate: Path | str | None = None
    key: Path | str | None = None


@dataclass(frozen=True)
class Input:
    """A file that went into the video.

    Attributes:
        role: "video" or "speech".
        name: Its name, without the folder.
        sha256: Hash of its bytes, as hexadecimal digits.
    """

    role: str
    name: str
    sha256: str

    @classmethod
    def of(cls, role: str, path: Path | str) -> Input:
        """Describe a file.

        Raises:
            CredentialsError: It cannot be read.
        """
        try:
            return cls(role, Path(path).name, sha256(path))
        except OSError as error:
            raise CredentialsError(f"{path}: cannot be read ({error.strerror}); check the file") from error


def can_hold(path: Path | str) -> bool:
    """Whether a file of this name gets a manifest."""
    return Path(path).suffix.lower() in FORMATS


def sign(path: Path, title: str, source: Path, inputs: list[Input], ranges: list[list[float]], signer: Signer) -> None:
    """Put a manifest into a finished video; at every moment the file is whole, unsigned or signed.

    Args:
        path: The video; its suffix is one of `FORMATS`.
        title: What the manifest calls it.
        source: The video that was edited, which becomes the manifest's parent with its own manifest, if it has one.
        inputs: What went in.
        ranges: Start and end in seconds of what was generated.
        signer: Who signs.

    Raises:
        CredentialsError: The file cannot be signed.
        OSError: The signed copy cannot be written.
    """
    kind = FORMATS[path.suffix.lower()]
    if shutil.disk_usage(path.parent).free < path.stat().st_size:
        # The library would only say that a write failed.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path.parent))
    signed = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        with (
            c2pa.Context.from_dict(SETTINGS) as context,
            _builder(_manifest(title, inputs, ranges), source, context) as builder,
            path.open("rb") as unsigned,
            signed.open("x+b") as target,
        ):
            builder.sign(_native(signer), kind, unsigned, target)
        shutil.copymode(path, signed)
        signed.replace(path)
    except c2pa.C2paError as error:
        raise CredentialsError(
            f"{title}: the manifest cannot be written ({error}); --no-provenance omits it"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            signed.unlink(missing_ok=True)


def _manifest(title: str, inputs: list[Input], ranges: list[list[float]]) -> dict[str, Any]:
    agent = {"name": "PersonaTalk", "version": __version__}
    regions = [
        {"type": "temporal", "time": {"type": "npt", "start": f"{start:.3f}", "end": f"{end:.3f}"}}
        for start, end in ranges
    ]
    edited = {
        "action": "c2pa.edited",
        "digitalSourceType": GENERATED,
        "softwareAgent": agent,
        "description": "The lip movements were generated to fit another speech, which replaces the sound.",
        "changes": [{"description": "generated lower face", "region": regions}] if regions else [],
    }
    own = {
        "version": __version__,
        "ranges": [[round(start, 3), round(end, 3)] for start, end in ranges],
        "inputs": [{"role": i.role, "name": i.name, "sha256": i.sha256} for i in inputs],
    }
    return {
        "claim_generator_info": [agent],
        "title": title,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [edited]}},
            {"label": DUB, "data": own},
        ],
    }


def _builder(manifest: dict[str, Any], source: Path, context: c2pa.Context) -> c2pa.Builder:
    """Start a manifest with the source as parent."""
    parent = {"title": source.name, "relationship": "parentOf"}
    kind = FORMATS.get(source.suffix.lower(), f"video/{source.suffix.lower().lstrip('.') or 'unknown'}")
    builder = c2pa.Builder(manifest, context)
    try:
        builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
        with source.open("rb") as file:
            builder.add_ingredient(parent, kind, file)
    except c2pa.C2paError:
        # A source whose own manifest is damaged can only be named; ours must not fail for it.
        builder.close()
        builder = c2pa.Builder({**manifest, "ingredients": [{**parent, "format": kind}]}, context)
        builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
    return builder


# ------------------------------------------------------------------------------------------------ checking


@dataclass(frozen=True)
class Credentials:
    """What the manifest of a file says, and whether it may be believed.

    Attributes:
        state: "none"; "invalid" where file or manifest were changed afterwards; "valid".
        problems: What is wrong with an invalid one, in C2PA's words.
        signer: Common name of the signer's certificate.
        issuer: Organisation that its issuer names.
        trusted: Whether the certificate leads to one of the trust anchors.
        generator: The program that made the claim, with its version.
        generated: Whether it, or that of an ingredient, says that the video is partly or wholly generated.
        ranges: Start and end in seconds of what PersonaTalk generated, the last time it did.
        inputs: What went in.
    """

    state: str = "none"
    problems: list[str] = field(default_factory=list)
    signer: str = ""
    issuer: str = ""
    trusted: bool = False
    generator: str = ""
    generated: bool = False
    ranges: list[list[float]] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)


def read(path: Path | str, anchors: Path | str | None = None) -> Credentials:
    """Read and check the manifest of a file.

    Args:
        path: Any media file.
        anchors: PEM file of certificates whose signatures are trusted; nothing is trusted where None.

    Raises:
        CredentialsError: The file of anchors cannot be read.
        OSError: The media file cannot be read.
    """
    settings = dict(SETTINGS)
    if anchors is not None:
        settings["trust"] = {"user_anchors": _anchors(Path(anchors))}
    with c2pa.Context.from_dict(settings) as context, Path(path).open("rb") as file:
        try:
            reader = c2pa.Reader.try_create(None, file, context=context)
        except c2pa.C2paError as error:
            # Odd files that the library cannot read are no forgeries: only a manifest can be invalid.
            return Credentials("invalid", [str(error)]) if _has_box(Path(path)) else Credentials()
        if reader is None:
            return Credentials()
        with reader:
            return _credentials(json.loads(reader.json()))


def _has_box(path: Path) -> bool:
    """Whether a file of the MP4 family has, or once had, a manifest."""
    last = b""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            if BOX in last + block:
                return True
            last = block[-len(BOX) :]
    return False


def _anchors(path: Path) -> str:
    content = _read(path, "file of trusted certificates")
    try:
        x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise CredentialsError(f"{path}: no certificate in PEM; give those that you trust") from error
    return content.decode("ascii", "replace")


def _credentials(store: dict[str, Any]) -> Credentials:
    manifests = store.get("manifests", {})
    manifest = manifests.get(store.get("active_manifest"), {})
    signature = manifest.get("signature_info", {})
    # What other programs signed on top of ours keeps ours among the ingredients.
    history = [manifest, *(m for m in manifests.values() if m is not manifest)]
    said = [(str(a.get("label")), a.get("data", {})) for m in history for a in m.get("assertions", [])]
    actions = [action for label, data in said if label.startswith("c2pa.actions") for action in data.get("actions", [])]
    own: dict[str, Any] = next((data for label, data in said if label == DUB), {})
    makers = manifest.get("claim_generator_info") or [{}]
    # An unknown signer is no fault of the file; `trusted` tells it.
    faults = [s for s in store.get("validation_status", []) if s.get("code") != "signingCredential.untrusted"]
    state = str(store.get("validation_state", "Invalid")).lower()
    return Credentials(
        state="valid" if state in ("valid", "trusted") else "invalid",
        problems=[f"{s.get('code')}: {s.get('explanation', '')}" for s in faults],
        signer=signature.get("common_name") or "",
        issuer=signature.get("issuer") or "",
        trusted=state == "trusted",
        generator=" ".join(str(makers[0][k]) for k in ("name", "version") if k in makers[0]),
        generated=any("rainedAlgorithmicMedia" in str(a.get("digitalSourceType", "")) for a in actions),
        ranges=[[float(start), float(end)] for start, end in own.get("ranges", [])],
        inputs=[Input(str(i.get("role")), str(i.get("name")), str(i.get("sha256"))) for i in own.get("inputs", [])],
    )
