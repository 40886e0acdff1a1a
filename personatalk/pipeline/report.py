"""The report of a run: text for the terminal, JSON for programs."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..utils.files import same_file

# Stretches of passed-through frames that the summary lists; the JSON file holds all of them.
LISTED_SPANS = 10


@dataclass(frozen=True)
class Span:
    """Consecutive output frames that were passed through unchanged.

    Attributes:
        first: First output frame.
        last: Last output frame.
        start_seconds: Presentation time of the first.
        end_seconds: Presentation time of the last.
        reason: Why.
    """

    first: int
    last: int
    start_seconds: float
    end_seconds: float
    reason: str


@dataclass
class Report:
    """Record of a run: everything that `--report` writes. It decides nothing.

    Attributes:
        video: Path of the source video.
        speech: Source of the speech.
        output: The file written.
        version: Version of PersonaTalk.
        provenance: What the output says about itself: `on`, and then `tags`, `watermark` (whether its faces carry one),
            and `manifest` (signer, and whether the certificate is a local one; None in containers that hold none).
        length: The length policy.
        source_frames: Frames of the source.
        frames: Frames of the output.
        resumed: Output frames taken over from a run that was cut off.
        dubbed: Output frames with a new mouth.
        generated: Start and end in seconds of the stretches of dubbed frames.
        passed_through: Stretches of the other frames, and why they were passed through.
        faces: Source frames with a usable face.
        shots: Shots of the source, as (first frame, last frame, start seconds, usable frames).
        video_seconds: Length of the output.
        speech_seconds: Length of the speech.
        speech_used_seconds: Length of the part of it that the output holds.
        offsets: `container_start`, seconds on the source's own clock that are called 0 here, and `first_frame`, when
            the first frame is shown. The speech begins at 0.
        source_sync: Offset between the source's own audio and image, as `sync.VideoSync` tells it from the first
            seconds; None where the source has no audio, or no face for long enough.
        lip_references: Source frames that the texture of the lips came from.
        stage_seconds: Seconds spent in each stage, all cores together: those of frames run side by side.
        frames_per_second: Output frames per second of the whole run.
        warnings: What could not be kept, and what the user should know.
    """

    video: str
    speech: str
    output: str
    version: str
    provenance: dict[str, Any]
    length: str
    source_frames: int = 0
    frames: int = 0
    resumed: int = 0
    dubbed: int = 0
    generated: list[list[float]] = field(default_factory=list)
    passed_through: list[Span] = field(default_factory=list)
    faces: int = 0
    shots: list[dict[str, Any]] = field(default_factory=list)
    video_seconds: float = 0.0
    speech_seconds: float = 0.0
    speech_used_seconds: float = 0.0
    offsets: dict[str, float] = field(default_factory=dict)
    source_sync: dict[str, float] | None = None
    lip_references: list[int] = field(default_factory=list)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    frames_per_second: float = 0.0
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        # Reports travel between processes, which locks cannot.
        return asdict(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, passed_through=[Span(**span) for span in state["passed_through"]])
        self.__post_init__()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add_seconds(name, time.perf_counter() - start)

    def add_seconds(self, name: str, seconds: float) -> None:
        """Add to the time of a stage; threads may do so at once."""
        with self._lock:
            self.stage_seconds[name] = self.stage_seconds.get(name, 0.0) + seconds

    def record_frame(self, seconds: float, reason: str | None) -> None:
        """Count the next output frame.

        Args:
            seconds: Its presentation time.
            reason: Why it was passed through; None if it was dubbed.
        """
        number = self.frames
        self.frames += 1
        if reason is None:
            self.dubbed += 1
            return
        last = self.passed_through[-1] if self.passed_through else None
        if last is not None and last.last == number - 1 and last.reason == reason:
            self.passed_through[-1] = Span(last.first, number, last.start_seconds, seconds, reason)
        else:
            self.passed_through.append(Span(number, number, seconds, seconds, reason))

    def record_lip_references(self, frames: Iterable[int]) -> None:
        """Add source frames that the texture of lips came from; frames that are known already are left out."""
        known = set(self.lip_references)
        self.lip_references += [int(frame) for frame in frames if int(frame) not in known]

    def write(self, path: Path | str) -> None:
        """Write the report as JSON.

        Raises:
            OutputError: The file cannot be written.
        """
        try:
            text = json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"
            # File names that are no UTF-8 become escapes, which JSON has as well.
            Path(path).write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise OutputError(f"{path}: the report cannot be written ({error.strerror})") from error

    def summary(self) -> list[str]:
        """Return the lines for the terminal."""
        lines = [
            f"{self.output}: {self.frames} frames, {self.dubbed} dubbed, {self.frames - self.dubbed} passed through,"
            f" {self.frames_per_second:.1f} frames/s"
        ]
        for span in self.passed_through[:LISTED_SPANS]:
            lines.append(f"  {span.start_seconds:.2f} s to {span.end_seconds:.2f} s passed through: {span.reason}")
        if len(self.passed_through) > LISTED_SPANS:
            lines.append(f"  and {len(self.passed_through) - LISTED_SPANS} more stretches; --report lists them")
        return lines + [f"  note: {warning}" for warning in self.warnings]


def check_report(path: Path | None, others: Iterable[Path]) -> None:
    """Refuse a report that cannot be written or would destroy another file.

    Args:
        path: The report; None where none is wanted.
        others: Files of the same job.

    Raises:
        OutputError: The report cannot be written, or is one of the others.
    """
    if path is None:
        return
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path}: the folder of the report does not exist; make it or choose another")
    try:
        unfit = path.is_dir() or (path.exists() and not os.access(path, os.W_OK))
    except OSError:  # a name too long for any file
        unfit = True
    if unfit:
        raise OutputError(f"{path}: the report cannot be written under this name; choose another")
    for other in others:
        if same_file(path, other):
            raise OutputError(f"the report {path} is the file {other}; name another report")
