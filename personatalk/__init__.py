"""PersonaTalk: visual dubbing that keeps the speaker's persona.

import personatalk
report = personatalk.dub("video.mp4", "speech.wav", "dubbed.mp4")
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

try:
    __version__ = version("personatalk")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

if TYPE_CHECKING:
    from .credentials import Provenance
    from .pipeline import DubOptions, Models, dub, dub_cues
    from .report import Report

__all__ = ["DubOptions", "Models", "Provenance", "Report", "__version__", "dub", "dub_cues"]


def __getattr__(name: str) -> Any:
    # Torch and MediaPipe take seconds to import: `personatalk --help` must not wait for them.
    if name in ("DubOptions", "Models", "dub", "dub_cues"):
        from . import pipeline

        return getattr(pipeline, name)
    if name == "Provenance":
        from .credentials import Provenance

        return Provenance
    if name == "Report":
        from .report import Report

        return Report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
