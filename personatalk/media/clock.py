"""One continuous clock for all streams of a file, whose own time stamps may jump.

Joined recordings, restarted encoders and counters that run over make the stamps of a file jump back, or forward by
hours. Players go on without a break; so does this clock: from a jump on, an offset is carried along, the same for all
streams, so that picture and sound stay together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer

# Seconds by which stamps may go back before it is a jump; less is jitter.
JITTER = Fraction(1, 10)

# Seconds of a gap from which on it is a jump forward: in formats whose clocks are known to jump, and in others.
# The numbers are those of FFmpeg's player.
MAX_GAP_WHERE_CLOCKS_JUMP = 10
MAX_GAP = 3600

# Seconds by which a stream may outlast the others at a jump and still overlap with what comes after it.
MAX_TAIL = Fraction(1, 2)

# Seconds after which the counter of an MPEG stream runs over.
LAP = Fraction(1 << 33, 90000)


def start_offset(container: InputContainer) -> Fraction:
    """Return what is added to all times of a file, in seconds, so that it does not start hours after 0, or before it.

    Only where clocks are known to jump: there a start far from 0 is as good as a jump.
    """
    start = Fraction(container.start_time or 0, av.time_base)
    far = start < 0 or start > MAX_GAP_WHERE_CLOCKS_JUMP
    return -start if far and _clock_may_jump(container) else Fraction(0)


def _clock_may_jump(container: InputContainer) -> bool:
    return bool(container.format.flags & av.format.Flags.ts_discont.value)


@dataclass
class _StreamClock:
    """State of one stream.

    Attributes:
        stretch: Number of the stretch between two jumps that its latest packet lies in.
        start: Decoding time of its latest packet on the file's own clock, in seconds; None before the first.
        duration: How long that packet lasts, by its own word, else the shortest step so far.
    """

    stretch: int
    start: Fraction | None = None
    duration: Fraction = Fraction(0)


class ContinuousClock:
    """Reads the packets of a file and moves their times to a clock without jumps.

    Where the stamps do not jump, the times stay as they are.
    """

    def __init__(self, container: InputContainer) -> None:
        """Start the clock of a file.

        Args:
            container: The opened file, from the start or after a seek.
        """
        self._container = container
        self._max_gap = MAX_GAP_WHERE_CLOCKS_JUMP if _clock_may_jump(container) else MAX_GAP
        self._offsets = [start_offset(container)]  # of each stretch, in seconds
        self._streams: dict[int, _StreamClock] = {}
        self._latest: Fraction | None = None  # end of all packets so far, on the continuous clock

    @property
    def jumped(self) -> bool:
        """Return whether the stamps have jumped so far."""
        return len(self._offsets) > 1

    def packets(self) -> Iterator[av.Packet]:
        """Yield the packets of all streams in the order of the file, at their times on this clock."""
        for packet in self._container.demux():
            offset = self._offset(packet)
            if offset and packet.size:
                ticks = round(offset / packet.time_base)
                packet.pts = None if packet.pts is None else packet.pts + ticks
                packet.dts = None if packet.dts is None else packet.dts + ticks
            yield packet

    def _offset(self, packet: Any) -> Fraction:
        """Return what to add to the times of a packet, in seconds."""
        newest = len(self._offsets) - 1
        clock = self._streams.setdefault(packet.stream.index, _StreamClock(newest))
        if packet.stream.type not in ("video", "audio"):
            return self._offsets[newest]  # their packets are too rare to tell a jump
        if packet.dts is not None:
            start = packet.dts * packet.time_base
            if clock.start is not None:
                if self._is_jump(clock, start):
                    self._follow(clock, start)
                elif start > clock.start:
                    clock.duration = min(start - clock.start, clock.duration or start - clock.start)
            clock.start, clock.duration = start, (packet.duration or 0) * packet.time_base or clock.duration
            end = start + clock.duration + self._offsets[clock.stretch]
            self._latest = end if self._latest is None else max(self._latest, end)
        return self._offsets[clock.stretch]

    def _is_jump(self, clock: _StreamClock, start: Fraction) -> bool:
        assert clock.start is not None and self._latest is not None
        back = start < clock.start - JITTER
        return back or start + self._offsets[clock.stretch] > self._latest + self._max_gap

    def _follow(self, clock: _StreamClock, start: Fraction) -> None:
        """Begin a new stretch where a stream jumps, or join the one that another stream began."""
        assert clock.start is not None
        if clock.stretch == len(self._offsets) - 1:
            runs_over = clock.start <= start + LAP < clock.start + self._max_gap
            step = LAP if runs_over else self._end(clock) - self._offsets[clock.stretch] - start
            self._offsets.append(self._offsets[clock.stretch] + step)
        clock.stretch = len(self._offsets) - 1

    def _end(self, clock: _StreamClock) -> Fraction:
        """Return where a stream ends, on the continuous clock, or all of them where another lasts much longer."""
        assert clock.start is not None and self._latest is not None
        own = clock.start + clock.duration + self._offsets[clock.stretch]
        return self._latest if self._latest > own + MAX_TAIL else own
