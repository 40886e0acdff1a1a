"""The source frame of each moment of the output, where speech may be longer or shorter than the video."""

from __future__ import annotations

import math
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
from .options import AS_LONG_AS_SPEECH, LengthPolicy
from .pixels import cross_faded
from .probe import VideoInfo
from .reader import Frame, VideoReader

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

# Bytes of the frames that are held when a run goes backward, and how many are held at least.
BACKWARD_BYTES = 128 * 1024 * 1024
BACKWARD_FRAMES = 8

# Longest cross-fade from the end of a video to its start, in seconds, and as a share of its frames.
FADE_SECONDS = 0.2
FADE_SHARE = 1 / 3

# By how much `remap` may change the time that frames are shown: faster or slower, people are seen to be.
LEAST_STRETCH, MOST_STRETCH = 0.8, 1.25
# Times are quotients of whole numbers: what is said to be 0.8 may be less by a rounding.
ROUNDING = 1e-9

# Largest denominator of that change: an hour is right to 36 milliseconds.
STRETCH_DENOMINATOR = 100_000

# Clock of the stretched output, in seconds per tick: that of MPEG, which all containers know.
STRETCHED_CLOCK = Fraction(1, 90_000)


@dataclass(frozen=True)
class Plan:
    """The frames of the output, in order.

    Attributes:
        source_index: int64 (N,), the source frame that is shown.
        time: float64 (N,), the time at which it appears, in seconds on the presentation timeline.
        duration: float64 (N,), the time that each is shown for, in seconds.
        dubbed: bool (N,), True where the mouth is new; False passes the original mouth through.
        speech_limit: Seconds after which the speech is cut: where the last frame ends.
        partner: int64 (N,), another source frame that is seen through this one, -1 for none.
        partner_share: float64 (N,), the share of that frame, 0..0.5.
        stretch: Length of the output over that of the video, where all frames are shown longer or shorter.
    """

    source_index: Int64
    time: Float64
    duration: Float64
    dubbed: BoolArray
    speech_limit: float
    partner: Int64
    partner_share: Float64
    stretch: Fraction = Fraction(1)

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
            partner=self.partner[first:],
            partner_share=self.partner_share[first:],
        )

    def output(self, source: VideoInfo) -> VideoInfo:
        """Return the description of the output's video: the source's, with another clock where it is stretched."""
        return stretched(source, self.stretch)

    def ticks(self, time_base: Fraction, start_seconds: float) -> tuple[Int64, Int64]:
        """Return times and durations on the source's own clock, int64 (N,) each, in ticks.

        Source frames at their source times get exactly their source pts back.

        Args:
            time_base: Seconds per tick, `VideoInfo.time_base` of `output`.
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
        MediaError: The policy is `remap`, and the lengths differ by too much.
    """
    times = np.asarray(frame_times, np.float64)
    spans = _spans(times, np.asarray(frame_durations, np.float64))
    if policy not in get_args(LengthPolicy):
        raise ValueError(f"unknown length policy {policy!r}; use one of {', '.join(get_args(LengthPolicy))}")
    order, fade, stretch = np.arange(len(times)), 0, Fraction(1)
    end = float(times[-1] + spans[-1])
    if policy == "remap":
        stretch = stretch_to(end, speech_seconds)
        times, spans = times * float(stretch), spans * float(stretch)
    elif policy in AS_LONG_AS_SPEECH and speech_seconds > end:
        fade = _fade_frames(spans) if policy == "loop" else 0
        walk = _there_and_back if policy == "pingpong" else _over_again
        order, steps = walk(times, spans, speech_seconds, fade)
        times, spans = times[0] + np.concatenate([[0.0], np.cumsum(steps[:-1])]), steps
    if policy in ("shortest", "pingpong", "loop"):
        # At least one frame: a video without any cannot be written.
        keep = max(1, int(np.searchsorted(times, speech_seconds, side="left")))
        order, times, spans = order[:keep], times[:keep], spans[:keep]
    dubbed = times < speech_seconds if policy == "video-original" else np.ones(len(order), bool)
    partner, share = _fades(order, fade)
    return Plan(order, times, spans, dubbed, float(times[-1] + spans[-1]), partner, share, stretch)


def stretch_to(video_seconds: float, speech_seconds: float) -> Fraction:
    """Return the length of a speech over that of a video.

    Raises:
        MediaError: Frames would be shown for much longer or shorter than they were taken.
    """
    ratio = speech_seconds / video_seconds if video_seconds > 0 else math.inf
    if not LEAST_STRETCH - ROUNDING <= ratio <= MOST_STRETCH + ROUNDING:
        raise MediaError(
            f"the speech of {speech_seconds:.1f} s is {ratio:.2f} times as long as the video of {video_seconds:.1f} s;"
            f" --length remap takes {LEAST_STRETCH} to {MOST_STRETCH}; give --length loop, or another speech"
        )
    return Fraction(ratio).limit_denominator(STRETCH_DENOMINATOR)


def stretched(source: VideoInfo, stretch: Fraction) -> VideoInfo:
    """Return the description of a video all of whose frames are shown longer or shorter."""
    if stretch == 1:
        return source
    return replace(
        source,
        time_base=STRETCHED_CLOCK,
        average_fps=source.average_fps / stretch,
        duration=None if source.duration is None else source.duration * float(stretch),
        stretch=stretch,
    )


def _spans(times: Float64, durations: Float64) -> Float64:
    """Return the time that each frame is shown for: until the next one, the last for its own duration."""
    if times.ndim != 1 or not times.size or durations.shape != times.shape:
        raise ValueError(f"need (T,) times and durations with T > 0, got {times.shape}, {durations.shape}")
    spans = np.append(np.diff(times), durations[-1])
    if not (spans > 0).all():
        raise ValueError("frame times must increase and the last duration must be positive")
    return spans


def _there_and_back(times: Float64, spans: Float64, until: float, fade: int) -> tuple[Int64, Float64]:
    """Return frame numbers 0..T-1, T-2..0, 1..T-1..., and the time that each is shown for.

    They last at least until the given time. Each is shown for what lies between it and the next one in the source.
    """
    count = len(times)
    if count == 1:
        return _over_again(times, spans, until, fade)
    legs = int(np.ceil((until - times[0]) / spans[:-1].sum())) + 1
    place = np.arange(legs * (count - 1) + 1) % (2 * (count - 1))
    order = np.asarray(np.minimum(place, 2 * (count - 1) - place), np.int64)
    return order, np.append(spans[np.minimum(order[:-1], order[1:])], spans[order[-1]])


def _over_again(times: Float64, spans: Float64, until: float, fade: int) -> tuple[Int64, Float64]:
    """Return frame numbers 0..T-1, 0..T-1..., and the time that each is shown for, at least until the given time.

    Where two rounds meet, the last `fade` frames of the one are those of the next that come first: half of either are
    left out, and are seen through the others as `_fades` says.
    """
    before = fade // 2
    again = np.arange(before, len(times) - fade + before)
    rounds = int(np.ceil((until - times[0]) / spans[again].sum())) + 1
    order = np.concatenate([np.arange(before), np.tile(again, rounds)]).astype(np.int64)
    return order, spans[order]


def _fade_frames(spans: Float64) -> int:
    """Return the number of frames over which a video's end may fade into its start."""
    fade = 0
    while fade < int(len(spans) * FADE_SHARE) and _fade_seconds(spans, fade + 1) <= FADE_SECONDS + 1e-9:
        fade += 1
    return fade


def _fade_seconds(spans: Float64, fade: int) -> float:
    """Return the time for which a cross-fade is shown: half of its frames are those of the end, half of the start."""
    before = fade // 2
    return float(spans[len(spans) - fade : len(spans) - fade + before].sum() + spans[before:fade].sum())


def _fades(order: Int64, fade: int) -> tuple[Int64, Float64]:
    """Return the frame that is seen through each frame of `_over_again`, -1 for none, and its share.

    The frame that is seen more is the one that is dubbed: the new mouth is drawn over the cross-fade, not faded.
    """
    partner, share = np.full(len(order), -1, np.int64), np.zeros(len(order))
    before = fade // 2
    for seam in (np.flatnonzero(np.diff(order) < 0) + 1).tolist() if fade else []:
        end = int(order[seam - 1]) + 1  # the frame that would come next, if the video did not begin again
        for i in range(-before, min(fade - before, len(order) - seam)):
            weight = (i + before + 1) / (fade + 1)
            partner[seam + i] = before + i if i < 0 else end + i
            share[seam + i] = weight if i < 0 else 1 - weight
    return partner, share


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
            # Decoded anew each time: threads may not convert one image at once.
            for _ in range(count):
                yield from _forward(source, first, first + 1)


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


def shown_frames(reader: VideoReader, plan: Plan) -> Iterator[Frame]:
    """Yield the frames of a plan as they are shown, with their output times, in bounded memory.

    Raises:
        MediaError: As of `frames_in_order`.
    """
    frames = frames_in_order(reader, plan.source_index)
    partners = frames_in_order(reader, plan.partner[plan.partner >= 0])
    yield from retimed(_cross_fades(frames, partners, plan), plan, reader.info)


def _cross_fades(frames: Iterable[Frame], partners: Iterator[Frame], plan: Plan) -> Iterator[Frame]:
    """Let frames be seen through others, as a plan says."""
    for number, frame in enumerate(frames):
        if plan.partner[number] < 0:
            yield frame
        else:
            image = cross_faded(frame.image, next(partners).image, float(plan.partner_share[number]))
            yield replace(frame, image=image, unfaded=frame.image)


def retimed(frames: Iterable[Frame], plan: Plan, source: VideoInfo) -> Iterator[Frame]:
    """Give frames that come in a plan's order their output times."""
    pts, duration = plan.ticks(plan.output(source).time_base, source.start_seconds)
    for number, frame in enumerate(frames):
        time = float(plan.time[number])
        yield replace(frame, time=time, pts=int(pts[number]), duration=int(duration[number]))
