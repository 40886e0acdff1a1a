"""The outcome of preparing one video: the clips that were kept, and the reasons for what was left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from .layouts import VideoSource


class RejectReason(str, Enum):
    """The reason why a video, or a stretch of one, is left out."""

    UNREADABLE = "unreadable"
    NO_FACE = "no usable face"
    SHORT = "too short"
    SMALL = "face too small"
    LOW_QUALITY = "image quality too low"
    QUIET = "too little speech"
    OUT_OF_SYNC = "audio and video out of sync"
    MISSING = "not there, or not allowed to be read; tried again next time"
    CRASHED = "the decoder crashed on it"


@dataclass
class PrepareOutcome:
    """The outcome of one video.

    Attributes:
        key: The source's.
        clips: Keys of the clips that were kept.
        rejected: Number of stretches (or 1 for the video as a whole) that were left out, by reason.
        offset: Frames by which its video was late against its audio, which was undone; None if unknown.
        note: The message of an error.
        stamp: Name and size of its file, by which another file of the same key is told.
        again: Whether it is to be tried again next time.
    """

    key: str
    clips: list[str] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)
    offset: float | None = None
    note: str = ""
    stamp: str = ""
    again: bool = False

    def reject(self, reason: RejectReason, note: str = "") -> None:
        """Count something that is left out."""
        self.rejected[reason.value] = self.rejected.get(reason.value, 0) + 1
        self.note = note or self.note


def source_stamp(source: VideoSource) -> str:
    """Return the name and the size of a source's file, or the number of its images."""
    if source.video.is_dir():
        return f"{source.video.name}:{sum(1 for _ in source.video.iterdir())}"
    return f"{source.video.name}:{source.video.stat().st_size if source.video.exists() else 0}"


def crash_outcome(source: VideoSource, code: int | None = None) -> PrepareOutcome:
    """Return the outcome of a video on which the process died."""
    outcome = PrepareOutcome(source.key, stamp=source_stamp(source))
    outcome.reject(RejectReason.CRASHED, f"{source.video}: its decoder crashed")
    return outcome
