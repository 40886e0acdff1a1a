"""The source frame of each moment of the output, where speech may be longer or shorter than the video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import get_args

import av
import numpy as np
import numpy.typing as npt

from ..errors import MediaError
from ..utils.arrays import BoolArray
from .options import LengthPolicy
from .probe import VideoInfo
from .reader import Frame, VideoReader

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

# Bytes of the frames that are held when a run goes backward, and how many are held at least.
BACKWARD_BYTES = 128 * 1024 * 1024
BACKWARD_FRAMES = 8


@dataclass(frozen=True)
class Plan:
    """The frames of the output, in order.

    Attributes:
        source_index: int64 (N,), the source frame that is shown.
        time: float64 (N,), the time at which it appears, in seconds on the presentation timeline.
        duration: float64 (N,), the time that each is shown for, in seconds.
        dubbed: bool (N,), True where the mouth is new; False passes the original mouth through.
        speech_limit: Seconds after which the speech is cut: where the last frame ends.
    """

    source_index: Int64
    time: Float64
    duration: Float64
    dubbed: BoolArray
    speech_limit: float

    def __len__(self) -> int:
        return len(self.source_index)

    def since(self, first: int) -> Plan:
        """Return the frames from number `first` on."""
        return replace(
            self,
            source_index=self.source_index[first:],
            time=self.time[first:],
            duration=self.duration[first:],
            dubbed=self.dubbed[first:],
        )

    def ticks(self, time_base: Fraction, start_seconds: float) -> tuple[Int64, Int64]:
        """Return times and durations on the source's own clock, int64 (N,) each, in ticks.

        Source frames at their source times get exactly their source pts back.

        Args:
            time_base: Seconds per tick, `VideoInfo.time_base`.
            start_seconds: Where the presentation timeline starts, `VideoInfo.start_seconds`.
        """
        per_second = float(1 / time_base)
        pts = np.rint((self.time + start_seconds) * per_second).astype(np.int64)
        end = np.rint((self.time + self.duration + start_seconds) * per_second).astype(np.int64)
        return pts, np.maximum(end - pts, 1)


def plan(
    frame_times: npt.ArrayLike,
    frame_durations: npt.ArrayLike,
    speech_seconds: float,
    policy: LengthPolicy = "video",
) -> Plan:
    """Plan the frames of the output.

    Args:
        frame_times: (T,) presentation times of the source frames in seconds, increasing.
        frame_durations: (T,) seconds; only the last counts, the others end where the next begins.
        speech_seconds: Length of the speech, from time 0.
        policy: See `LengthPolicy`.

    Raises:
        ValueError: No frames, times that do not increase, or an unknown policy.
    """
    times = np.asarray(frame_times, np.float64)
    spans = _spans(times, np.asarray(frame_durations, np.float64))
    if policy not in get_args(LengthPolicy):
        raise ValueError(f"unknown length policy {policy!r}; use one of {', '.join(get_args(LengthPolicy))}")
    order = np.arange(len(times))
    end = float(times[-1] + spans[-1])
    if policy == "pingpong" and speech_seconds > end:
        order = _there_and_back(times, spans, speech_seconds)
        spans = _steps(order, spans)
        times = times[0] + np.concatenate([[0.0], np.cumsum(spans[:-1])])
    if policy in ("shortest", "pingpong"):
        # At least one frame: a video without any cannot be written.
        keep = max(1, int(np.searchsorted(times, speech_seconds, side="left")))
        order, times, spans = order[:keep], times[:keep], spans[:keep]
    dubbed = np.ones(len(order), bool)
    if policy == "video-original":
        dubbed = times < speech_seconds
    return Plan(order.astype(np.int64), times, spans, dubbed, float(times[-1] + spans[-1]))


def _spans(times: Float64, durations: Float64) -> Float64:
    """Return the time that each frame is shown for: until the next one, the last for its own duration."""
    if times.ndim != 1 or not times.size or durations.shape != times.shape:
        raise ValueError(f"need (T,) times and durations with T > 0, got {times.shape}, {durations.shape}")
    spans = np.append(np.diff(times), durations[-1])
    if not (spans > 0).all():
        raise ValueError("frame times must increase and the last duration must be positive")
    return spans


def _there_and_back(times: Float64, spans: Float64, until: float) -> Int64:
    """Return frame numbers 0..T-1, T-2..0, 1..T-1... that last at least until the given time."""
    count = len(times)
    if count == 1:
        return np.zeros(int(np.ceil((until - times[0]) / spans[0])) + 1, np.int64)
    legs = int(np.ceil((until - times[0]) / spans[:-1].sum())) + 1
    place = np.arange(legs * (count - 1) + 1) % (2 * (count - 1))
    return np.asarray(np.minimum(place, 2 * (count - 1) - place), np.int64)


def _steps(order: Int64, spans: Float64) -> Float64:
    """Return the time that each frame of a walk is shown for: what lies between it and the next one in the source."""
    if len(spans) == 1:
        return np.full(len(order), spans[0])
    steps = spans[np.minimum(order[:-1], order[1:])]
    return np.append(steps, spans[order[-1]])


def frame_runs(source_index: npt.ArrayLike) -> list[tuple[int, int, int]]:
    """Split frame numbers into runs (first number, count, step) with step -1, 0 or 1."""
    numbers = [int(number) for number in np.asarray(source_index).ravel()]
    result: list[tuple[int, int, int]] = []
    begin = 0
    while begin < len(numbers):
        step = numbers[begin + 1] - numbers[begin] if begin + 1 < len(numbers) else 1
        end = begin + 1
        while abs(step) <= 1 and end < len(numbers) and numbers[end] - numbers[end - 1] == step:
            end += 1
        result.append((numbers[begin], end - begin, step if abs(step) <= 1 else 1))
        begin = end
    return result


def frames_in_order(
    source: VideoReader | Path | str, source_index: npt.ArrayLike, *, byte_budget: int = BACKWARD_BYTES
) -> Iterator[Frame]:
    """Yield the source's frames in the given order, in bounded memory.

    Forward runs are one sequential decode; backward runs are decoded in chunks, last chunk first.

    Args:
        source: A reader, or a file.
        source_index: (N,) frame numbers.
        byte_budget: Size of a backward chunk; never below 8 frames.

    Raises:
        MediaError: The video is damaged, or has fewer frames than asked for.
    """
    if not isinstance(source, VideoReader):
        with VideoReader(source) as reader:
            yield from frames_in_order(reader, source_index, byte_budget=byte_budget)
        return
    for first, count, step in frame_runs(source_index):
        if step == 1:
            yield from _forward(source, first, first + count)
        elif step == -1:
            yield from _backward(source, first - count + 1, first + 1, byte_budget)
        else:
            frame = next(_forward(source, first, first + 1))
            yield from (frame for _ in range(count))


def _forward(reader: VideoReader, start: int, stop: int) -> Iterator[Frame]:
    """Yield frames start..stop-1, all of them."""
    last = start - 1
    for frame in reader.frames(start, stop):
        last = frame.index
        yield frame
    if last != stop - 1:
        raise MediaError(f"{reader.info.path} has no frame {last + 1}, but {stop} were counted; check the file")


def _backward(reader: VideoReader, start: int, stop: int, byte_budget: int) -> Iterator[Frame]:
    """Yield frames stop-1..start, holding one chunk of them at a time."""
    size = chunk_frames(reader.info, byte_budget)
    for end in range(stop, start, -size):
        chunk = list(_forward(reader, max(start, end - size), end))
        while chunk:
            yield chunk.pop()


def chunk_frames(info: VideoInfo, byte_budget: int) -> int:
    """Return the number of decoded frames that fit into a number of bytes, at least 8."""
    bits = av.VideoFormat(info.pix_fmt, info.width, info.height).padded_bits_per_pixel
    return max(BACKWARD_FRAMES, byte_budget * 8 // max(1, int(bits) * info.width * info.height))


def retimed(frames: Iterable[Frame], plan: Plan, info: VideoInfo) -> Iterator[Frame]:
    """Give frames that come in a plan's order their output times."""
    pts, duration = plan.ticks(info.time_base, info.start_seconds)
    for number, frame in enumerate(frames):
        time = float(plan.time[number])
        yield replace(frame, time=time, pts=int(pts[number]), duration=int(duration[number]))
