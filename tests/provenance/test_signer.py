"""Certificates that sign, and those that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from helpers.signing import make_pair, signed_copy

from personatalk.errors import CredentialsError
from personatalk.provenance.c2pa_reader import read_credentials
from personatalk.provenance.signer import Signer


def test_without_a_place_to_keep_it_a_certificate_serves_one_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    signer = Signer.local_signer(tmp_path / "file" / "signing")
    assert "no certificate can be kept" in signer.warnings[0]


def test_a_damaged_local_certificate_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    Signer.local_signer(tmp_path / "signing")
    (tmp_path / "signing" / "key.pem").write_text("nothing")
    with pytest.raises(CredentialsError, match=r"delete .*signing"):
        Signer.local_signer(tmp_path / "signing")


@pytest.mark.parametrize("kind", ["es256", "es384", "ed25519", "ps256"])
def test_an_own_certificate_signs_and_is_trusted_by_its_authority(tmp_path: Path, clip: Path, kind: str) -> None:
    keys = {
        "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "ps256": lambda: rsa.generate_private_key(65537, 2048),
    }
    files = make_pair(tmp_path / "pair", keys[kind]())
    signer = Signer.load(files.chain, files.key)
    assert (signer.algorithm, signer.name, signer.local) == (kind, "Jane Doe", False)
    output = signed_copy(clip, tmp_path / "out.mp4", signer)
    found = read_credentials(output)
    assert (found.state, found.signer, found.issuer, found.trusted) == ("valid", "Jane Doe", "Doe Studios", False)
    assert read_credentials(output, files.authority).trusted
    assert not read_credentials(output, make_pair(tmp_path / "other").authority).trusted


def test_the_environment_names_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = make_pair(tmp_path / "pair", own_name="From the environment")
    monkeypatch.setenv("PERSONATALK_CERTIFICATE", str(files.chain))
    with pytest.raises(CredentialsError, match="private key is not given"):
        Signer.load()
    monkeypatch.setenv("PERSONATALK_PRIVATE_KEY", str(files.key))
    assert Signer.load().name == "From the environment"


def test_certificates_that_cannot_sign_are_refused_with_the_reason(tmp_path: Path) -> None:
    good, other = make_pair(tmp_path / "good"), make_pair(tmp_path / "other")
    text = tmp_path / "text.pem"
    text.write_text("nothing")
    locked = tmp_path / "locked.pem"
    password = serialization.BestAvailableEncryption(b"secret")
    key = ec.generate_private_key(ec.SECP256R1())
    locked.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, password))
    old = make_pair(tmp_path / "old", days=-1)
    unfit = make_pair(tmp_path / "unfit", usage=False)
    for chain, secret, words in (
        (good.chain, other.key, r"key\.pem.*does not belong"),
        (good.chain, None, "private key is not given"),
        (None, good.key, "certificate is not given"),
        (text, good.key, r"text\.pem: no certificate in PEM"),
        (good.chain, text, r"text\.pem: no private key in PEM"),
        (good.chain, locked, "encrypted"),
        (tmp_path / "none.pem", good.key, r"none\.pem: the certificate cannot be read"),
        (old.chain, old.key, "valid from .* only"),
        (unfit.chain, unfit.key, "C2PA refuses this certificate"),
        (good.authority, good.key, "does not belong"),
    ):
        with pytest.raises(CredentialsError, match=words):
            Signer.load(chain, secret)
