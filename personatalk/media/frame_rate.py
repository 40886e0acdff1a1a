"""Frame rates for containers and codecs that count frames instead of giving each its time."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache

from ..errors import MediaError
from .clock import ContinuousClock
from .container import open_input
from .probe import VideoInfo

# Bytes of a video whose frame times are looked at before the work: a second or two from a slow disk.
BYTES = 256 << 20

# Largest frame rate whose numbers are given to frames that come unevenly: the others are empty.
MOST_FPS = 240


@lru_cache(maxsize=8)
def counting_rate(source: VideoInfo) -> Fraction:
    """Return frames per second at which no two frames of a video get the same number.

    The average rate if it does, else the one whose multiples all times are.

    Raises:
        MediaError: Neither does.
    """
    times = sorted(set(_frame_times(source)))
    rates = (source.average_fps.limit_denominator(65535), _base_rate(source))
    for rate in rates:
        numbers = [round(time * rate) for time in times]
        if 0 < rate <= MOST_FPS and len(set(numbers)) == len(numbers):
            return rate
    raise MediaError(
        f"{source.path} has frames at uneven times, which neither AVI nor MPEG encoders keep; use .mp4 or .mkv and"
        " leave out --codec"
    )


def _base_rate(source: VideoInfo) -> Fraction:
    """Return the lowest rate whose multiples the times of the first frames are, as FFmpeg finds it; 0 if unknown."""
    with open_input(source.path) as container:
        return Fraction(container.streams[source.stream_index].base_rate or 0) / source.stretch


def _frame_times(source: VideoInfo) -> Iterator[Fraction]:
    """Yield the times of the first frames of a video, in seconds, as they lie in the file."""
    size = 0
    with open_input(source.path) as container:
        for packet in ContinuousClock(container).packets():
            size += packet.size
            time = packet.pts if packet.pts is not None else packet.dts
            if packet.size and packet.stream.index == source.stream_index and time is not None:
                yield time * packet.time_base * source.stretch
            if size > BYTES:
                return
