"""PersonaTalk: visual dubbing that keeps the speaker's persona.

import personatalk
report = personatalk.dub("video.mp4", "speech.wav", "dubbed.mp4")
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

try:
    __version__ = version("personatalk")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

if TYPE_CHECKING:
    from .credentials import Provenance
    from .models import Models
    from .pipeline import DubOptions, dub, dub_cues
    from .report import Report

__all__ = ["DubOptions", "Models", "Provenance", "Report", "__version__", "dub", "dub_cues"]


_HOMES = {
    "DubOptions": "pipeline",
    "Models": "models",
    "Provenance": "credentials",
    "Report": "report",
    "dub": "pipeline",
    "dub_cues": "pipeline",
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    # Torch and MediaPipe take seconds to import: `personatalk --help` must not wait for them.
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
