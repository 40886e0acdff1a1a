"""C2PA manifests (Content Credentials): a signed statement inside a video about its generated parts.

The standard is https://c2pa.org/specifications; `c2pa-python` implements the format. Signing writes a copy of the file
with one more box: the video and audio packets stay as they are.
"""

from __future__ import annotations

import errno
import mimetypes
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import c2pa

from ..errors import CredentialsError
from ..utils.files import atomic_write, printable_name, sha256
from ..version import __version__
from .signer import SETTINGS, Signer, native_signer

# Label of PersonaTalk's own assertion: version, generated ranges in seconds, and hashes of the inputs.
DUB = "org.personatalk.dub"
# IPTC's digital source type of an image of which a part was made by a trained model.
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
# Containers that get a manifest. The standard has none for Matroska and WebM; for AVI it does, but the library keeps
# such a file in memory.
FORMATS = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".3gp": "video/mp4",
    ".mov": "video/quicktime",
}


@dataclass(frozen=True)
class Input:
    """An input file of a dub, as the manifest names it.

    Attributes:
        role: "video" or "speech".
        name: Its name, without the folder.
        sha256: Hash of its bytes, as hexadecimal digits.
    """

    role: str
    name: str
    sha256: str

    @classmethod
    def from_file(cls, role: str, path: Path | str) -> Input:
        """Describe a file by its name and hash.

        Raises:
            CredentialsError: It cannot be read.
        """
        try:
            return cls(role, printable_name(path), sha256(path))
        except OSError as error:
            raise CredentialsError(f"{path}: cannot be read ({error.strerror}); check the file") from error


def can_hold_manifest(path: Path | str) -> bool:
    """Return whether a file of this name gets a manifest."""
    return Path(path).suffix.lower() in FORMATS


def sign(path: Path, title: str, source: Path, inputs: list[Input], ranges: list[list[float]], signer: Signer) -> None:
    """Put a manifest into a finished video; at every moment the file is whole, unsigned or signed.

    Args:
        path: The video; its suffix is one of `FORMATS`.
        title: The video's name in the manifest.
        source: The video that was edited, which becomes the manifest's parent with its own manifest, if it has one.
        inputs: The input files.
        ranges: Start and end in seconds of the generated stretches.
        signer: The certificate and key that sign.

    Raises:
        CredentialsError: The file cannot be signed.
        OSError: The signed copy cannot be written.
    """
    kind = FORMATS[path.suffix.lower()]
    if shutil.disk_usage(path.parent).free < path.stat().st_size:
        # The library would only say that a write failed.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path.parent))
    try:
        with (
            atomic_write(path, suffix=path.suffix) as signed,
            c2pa.Context.from_dict(SETTINGS) as context,
            _builder(_manifest(title, inputs, ranges), source, context) as builder,
            path.open("rb") as unsigned,
            signed.open("x+b") as target,
        ):
            builder.sign(native_signer(signer), kind, unsigned, target)
            shutil.copymode(path, signed)
    except c2pa.C2paError as error:
        raise CredentialsError(
            f"{title}: the manifest cannot be written ({error}); --no-provenance omits it"
        ) from error


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


def _kind_of(source: Path) -> str:
    """Return the media type of a source that is no file of `FORMATS`: an image, or a video by its suffix."""
    kind = mimetypes.guess_type(source.name)[0] or ""
    return kind if kind.startswith("image/") else f"video/{source.suffix.lower().lstrip('.') or 'unknown'}"


def _builder(manifest: dict[str, Any], source: Path, context: c2pa.Context) -> c2pa.Builder:
    """Start a manifest with the source as parent."""
    parent = {"title": printable_name(source), "relationship": "parentOf"}
    kind = FORMATS.get(source.suffix.lower()) or _kind_of(source)
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
