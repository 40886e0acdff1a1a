"""Certificates as an authority makes them, and signed videos."""

from __future__ import annotations

import datetime
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from personatalk.provenance.c2pa_writer import Input, sign
from personatalk.provenance.certificates import key_usage, pkcs8
from personatalk.provenance.signer import Signer

RANGES = [[0.0, 0.48], [0.8, 1.0]]


@dataclass(frozen=True)
class CertificateFiles:
    """Certificate chain and key as files, and the authority that signed the certificate."""

    chain: Path
    key: Path
    authority: Path


def signed_copy(clip: Path, path: Path, signer: Signer) -> Path:
    shutil.copy(clip, path)
    sign(path, "title.mp4", clip, [Input.from_file("video", clip)], RANGES, signer)
    return path


def make_pair(
    folder: Path, key: Any = None, days: int = 30, usage: bool = True, own_name: str = "Jane Doe"
) -> CertificateFiles:
    """Make a certificate as an authority would."""
    folder.mkdir(exist_ok=True)
    root_key = ec.generate_private_key(ec.SECP256R1())
    key = key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)

    def start(subject: str, public: Any) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().serial_number(x509.random_serial_number())
        builder = builder.subject_name(_named(subject)).issuer_name(_named("Root")).public_key(public)
        ends = now + datetime.timedelta(days=days)
        return builder.not_valid_before(now - datetime.timedelta(days=60)).not_valid_after(ends)

    root = start("Root", root_key.public_key()).add_extension(x509.BasicConstraints(True, None), True)
    root = root.add_extension(key_usage(key_cert_sign=True), True)
    root = root.add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), False)
    leaf = start(own_name, key.public_key()).add_extension(key_usage(digital_signature=True), True)
    leaf = leaf.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), False)
    if usage:
        leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    done = [builder.sign(root_key, hashes.SHA256()) for builder in (leaf, root)]
    pem = [c.public_bytes(serialization.Encoding.PEM) for c in done]
    files = CertificateFiles(folder / "chain.pem", folder / "key.pem", folder / "root.pem")
    files.chain.write_bytes(pem[0] + pem[1])
    files.authority.write_bytes(pem[1])
    files.key.write_bytes(pkcs8(key))
    return files


def _named(common: str) -> x509.Name:
    pairs = ((NameOID.ORGANIZATION_NAME, "Doe Studios"), (NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])


def packets(path: Path) -> list[tuple[object, ...]]:
    """Every packet of every stream: its times and its bytes."""
    with av.open(str(path)) as container:
        return [(p.stream_index, p.pts, p.dts, p.duration, bytes(p)) for p in container.demux() if p.size]
