"""The embedded sample: a rendered face that speaks, and synthetic speech (see README.md here)."""

from __future__ import annotations

from pathlib import Path


def sample_files() -> tuple[Path, Path]:
    """Paths of the sample's video and of its speech."""
    folder = Path(__file__).parent
    return folder / "face.mp4", folder / "speech.flac"
