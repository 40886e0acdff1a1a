"""Content Credentials (C2PA): a signed statement inside the video of what was generated, and its check.

The standard is https://c2pa.org/specifications; `c2pa-python` does the format. What is signed is a copy of the file
with one box more: pictures and sound stay as they are.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import c2pa
from cryptography import x509

from ..errors import CredentialsError
from ..utils.files import sha256
from ..version import __version__
from .certificates import SETTINGS, Signer, native_calls, read_file

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
BLOCK = 1 << 20
BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
"""The name of the box of the MP4 family that holds a manifest."""


# ------------------------------------------------------------------------------------------------ signing


# ------------------------------------------------------------------------------------------------ statement


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
            builder.sign(native_calls(signer), kind, unsigned, target)
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
    content = read_file(path, "file of trusted certificates")
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
