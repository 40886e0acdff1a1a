"""Reads and checks the C2PA manifest of a file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import c2pa
from cryptography import x509

from ..errors import CredentialsError
from .c2pa_writer import DUB, Input
from .signer import SETTINGS, read_file

# Bytes read at once.
READ_SIZE = 1 << 20
# Identifier of the MP4 box that holds a manifest.
MANIFEST_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
# IPTC's digital source types (the last part of their addresses) of media that a trained model made wholly or in part.
GENERATED_TYPES = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia")
# An unknown signer is no fault of the file; `Credentials.trusted` reports it.
UNKNOWN_SIGNER = "signingCredential.untrusted"


@dataclass(frozen=True)
class Credentials:
    """Content of a file's manifest, and whether it is valid and trusted.

    Attributes:
        state: "none"; "invalid" where file or manifest were changed afterwards; "valid".
        problems: Reasons why a manifest is invalid, in C2PA's words.
        signer: Common name of the signer's certificate.
        issuer: Organisation that its issuer names.
        trusted: Whether the certificate leads to one of the trust anchors.
        generator: Name and version of the program that made the claim.
        generated: Whether the manifest, or that of an ingredient, says that the video is partly or wholly generated.
        ranges: Start and end in seconds of the stretches that PersonaTalk generated, the last time it did.
        inputs: The input files of that dub.
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


def read_credentials(path: Path | str, anchors: Path | str | None = None) -> Credentials:
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
            return _parse_store(json.loads(reader.json()))


def _has_box(path: Path) -> bool:
    """Return whether a file of the MP4 family has, or once had, a manifest."""
    last = b""
    with path.open("rb") as file:
        while block := file.read(READ_SIZE):
            if MANIFEST_BOX in last + block:
                return True
            last = block[-len(MANIFEST_BOX) :]
    return False


def _anchors(path: Path) -> str:
    content = read_file(path, "file of trusted certificates")
    try:
        x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise CredentialsError(f"{path}: no certificate in PEM; give those that you trust") from error
    return content.decode("ascii", "replace")


def _parse_store(store: dict[str, Any]) -> Credentials:
    """Turn the library's manifest store into credentials."""
    manifests = store.get("manifests", {})
    active = manifests.get(store.get("active_manifest"), {})
    # Where another program signed after PersonaTalk, PersonaTalk's manifest is among the ingredients.
    history = [active, *(manifest for manifest in manifests.values() if manifest is not active)]
    assertions = [assertion for manifest in history for assertion in manifest.get("assertions", [])]
    own: dict[str, Any] = next((a.get("data", {}) for a in assertions if a.get("label") == DUB), {})
    problems = [s for s in store.get("validation_status", []) if s.get("code") != UNKNOWN_SIGNER]
    state = str(store.get("validation_state", "Invalid")).lower()
    signature = active.get("signature_info", {})
    return Credentials(
        state="valid" if state in ("valid", "trusted") else "invalid",
        problems=[f"{s.get('code')}: {s.get('explanation', '')}" for s in problems],
        signer=signature.get("common_name") or "",
        issuer=signature.get("issuer") or "",
        trusted=state == "trusted",
        generator=_generator(active),
        generated=any(map(_says_generated, assertions)),
        ranges=[[float(start), float(end)] for start, end in own.get("ranges", [])],
        inputs=[Input(str(i.get("role")), str(i.get("name")), str(i.get("sha256"))) for i in own.get("inputs", [])],
    )


def _generator(manifest: dict[str, Any]) -> str:
    """Return name and version of the program that made a manifest."""
    info = (manifest.get("claim_generator_info") or [{}])[0]
    return " ".join(str(info[key]) for key in ("name", "version") if key in info)


def _says_generated(assertion: dict[str, Any]) -> bool:
    """Return whether an assertion lists an action by which a trained model made the media or a part of it."""
    if not str(assertion.get("label")).startswith("c2pa.actions"):
        return False
    actions = assertion.get("data", {}).get("actions", [])
    return any(str(action.get("digitalSourceType", "")).endswith(GENERATED_TYPES) for action in actions)
