"""Options of provenance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..utils.options import check_options, option


@dataclass(frozen=True)
class Provenance:
    """Options of provenance: how the output says that it was generated.

    Attributes:
        on: Write tags, manifest and watermark; they go together.
        certificate: PEM file of the signer's certificate chain; see `Signer.load`.
        private_key: PEM file of its private key.
    """

    on: bool = option(
        True,
        "leave out what says that the video was generated: tags, C2PA manifest and invisible watermark; the report"
        " says so",
        name="provenance",
        group="provenance",
    )
    certificate: Path | str | None = option(
        None,
        "your certificate chain, which signs the manifest (or the variable PERSONATALK_CERTIFICATE)",
        otherwise="one made for this machine, which nobody else trusts",
        metavar="FILE.pem",
        group="provenance",
    )
    private_key: Path | str | None = option(
        None,
        "the private key of the certificate (or the variable PERSONATALK_PRIVATE_KEY)",
        metavar="FILE.pem",
        group="provenance",
    )

    def __post_init__(self) -> None:
        check_options(self)
