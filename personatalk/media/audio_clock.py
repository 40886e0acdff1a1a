"""The time of decoded audio: where its samples lie by the file's own time stamps, not by their number alone."""

from __future__ import annotations

from dataclasses import dataclass

import av
from av.container import InputContainer

# Containers that store the time of each packet. For all others FFmpeg counts the samples itself.
STAMPED = ("mov,mp4", "matroska", "mpegts", "mpeg", "flv", "ogg", "nut")

# Seconds by which a time stamp may differ from the count of samples: coarse stamps, and clocks that drift.
TOLERANCE = 0.010


@dataclass
class AudioClock:
    """Tells runs of frames that follow each other, and when each run begins.

    The frames' times come from a `ContinuousClock`: jumps are gone, holes and overlaps are left.

    Attributes:
        origin: Time stamp at the start of the presentation timeline, in seconds.
        stamped: Whether time stamps count behind the first one.
        run: Number of the current run, from 1 on.
        begin: Start of the current run on the presentation timeline, in seconds.
    """

    origin: float
    stamped: bool
    run: int = 0
    begin: float = 0.0
    _samples: int = 0
    _kind: tuple[str, str, int] = ("", "", 1)

    @classmethod
    def of(cls, container: InputContainer, origin: float) -> AudioClock:
        """Return the clock of an opened file."""
        return cls(origin, container.format.name.startswith(STAMPED))

    def run_of(self, frames: tuple[av.AudioFrame, av.AudioFrame | None]) -> int:
        """Return the number of a frame's run: a new one where samples are missing, overlap, or change their format.

        Args:
            frames: The frame, and the one after it, None at the end.
        """
        frame, following = frames
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        expected = self.begin + self._samples / self._kind[2]
        late = self._lateness(frame, following, expected)
        if kind != self._kind or late:
            self.begin = expected + late
            self.run, self._samples, self._kind = self.run + 1, 0, kind
        self._samples += frame.samples
        return self.run

    def _lateness(self, frame: av.AudioFrame, following: av.AudioFrame | None, expected: float) -> float:
        """Return the seconds by which a frame lies behind the end of what came before it, 0.0 for next to nothing."""
        if frame.time is None or (self.run and not self.stamped):
            return 0.0
        late = frame.time - self.origin - expected
        if not self.run:
            return late
        if abs(late) > TOLERANCE and following is not None and following.time is not None:
            # A single stamp that is off moves nothing: two that follow each other must agree.
            other = late + following.time - frame.time - frame.samples / frame.sample_rate
            late = min(late, other, key=abs) if late * other > 0 else 0.0
        return late if abs(late) > TOLERANCE else 0.0
