"""Reading of a video's frames, one by one and from any place.

Two timelines meet here. A file's own clock counts ticks of a stream's time base and may start anywhere; the
*presentation timeline* counts seconds from the file's start, so that sample 0 of the speech and the first frame that a
player shows are both at 0. `Frame.pts` is on the first, `Frame.time` on the second.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from bisect import bisect_right
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from ..utils.arrays import Array, Image
from .clock import ContinuousClock, start_offset
from .container import open_input
from .decoder import VideoDecoder
from .orientation import AS_STORED, Orientation
from .pixels import Box, part_to_rgb, paste, to_rgb
from .probe import probe_video

# FFmpeg repeats each defect of a damaged file on the terminal; what matters is said by a MediaError.
logging.getLogger("libav").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Frame:
    """One video frame.

    Attributes:
        index: Number of the frame in the file, from 0, in presentation order.
        time: Seconds on the presentation timeline.
        pts: Presentation time on the file's own clock, in ticks.
        duration: How long the frame is shown, in ticks, at least 1.
        image: The decoded image as stored; its buffers belong to the decoder and are never written.
        orientation: How players turn and mirror the stored image.
        unfaded: The image before another was faded into it; None where none was.
    """

    index: int
    time: float
    pts: int
    duration: int
    image: av.VideoFrame = field(repr=False)
    orientation: Orientation = AS_STORED
    unfaded: av.VideoFrame | None = field(default=None, repr=False)

    def alone(self) -> Frame:
        """Return this frame without what was faded into it."""
        return self if self.unfaded is None else replace(self, image=self.unfaded, unfaded=None)

    def rgb(self, box: Box | None = None) -> Image:
        """Return the image as players show it, uint8 (H, W, 3), in RGB.

        Args:
            box: The part of it that is wanted, as it is shown; inside the image.
        """
        image = self.image
        if box is None:
            return np.ascontiguousarray(self.orientation.shown(to_rgb(image)))
        columns, rows = box.right - box.left, box.bottom - box.top
        x, y = self.orientation.stored_place(box.left, box.top, columns, rows, image.width, image.height)
        if self.orientation.swaps_sides:
            columns, rows = rows, columns
        return np.ascontiguousarray(self.orientation.shown(part_to_rgb(image, Box(x, y, x + columns, y + rows))))

    def thumbnail(self, side: int) -> Image:
        """Return the image as stored, not turned upright, squeezed to uint8 (side, side, 3), in RGB."""
        return to_rgb(self.image, side)

    def pasted(self, patch: Image, mask: Array, left: int, top: int) -> Frame:
        """Return this frame with `patch` blended in where `mask` is above zero.

        The blend happens in the frame's own planes: samples that no pixel with mask > 0 touches stay
        bit-exact, so the rest of the image does not pass through RGB.

        Args:
            patch: uint8 (h, w, 3) RGB, as players show it. Where the mask is 0 its content does not matter.
            mask: float32 (h, w), 0 keeps the frame and 1 takes the patch.
            left: Shown x of the patch's first column; the patch may hang over the image's edges.
            top: Shown y of the patch's first row.

        Raises:
            ValueError: patch and mask do not have the same size.
        """
        return replace(self, image=paste(self.image, self.orientation, patch, mask, left, top))


class VideoReader:
    """Reads a video's frames one by one.

    Every call of `frames` decodes on its own, so that several can run side by side. What a pass from the
    beginning learns about times and key frames is kept, and lets later passes start in the middle.
    """

    def __init__(self, path: Path | str) -> None:
        """Open a video.

        Args:
            path: The file.

        Raises:
            MediaError: See `probe_video`.
        """
        self.info = probe_video(path)
        self._pts: list[int] = []  # of frames 0, 1, 2... as far as they were decoded
        self._keys: list[int] = []  # numbers of the key frames among them
        self._exact = True  # every frame so far carried its own, increasing pts, at its place
        self._open: weakref.WeakSet[Generator[Frame, None, None]] = weakref.WeakSet()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every iteration that is still under way, and close its file."""
        for frames in list(self._open):
            frames.close()
        self._open.clear()

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Yield frames `start`, `start + 1`... up to but without `stop`, in presentation order.

        Raises:
            MediaError: The file is damaged, at the time that the message names.
        """
        frames = self._frames(start, stop)
        self._open.add(frames)
        return frames

    def build_index(self, times: npt.ArrayLike | None = None) -> None:
        """Learn where frames lie, so that later passes can start in the middle.

        Where an earlier pass over the file has kept its times, the packets' times and key flags are enough if they
        agree: nothing is decoded. Otherwise the whole video is.

        Args:
            times: (T,) presentation times of all frames in seconds, as an earlier pass gave them; None if not known.

        Raises:
            MediaError: The file is damaged.
        """
        index = None if times is None else self._demuxed_index(np.asarray(times, np.float64))
        if index is None:
            for _ in self.frames():
                pass
        else:
            self._pts, self._keys = index
            self._exact = True

    def _demuxed_index(self, times: npt.NDArray[np.float64]) -> tuple[list[int], list[int]] | None:
        """Return all pts in order and the numbers of key frames, None where packets do not tell them for sure."""
        info = self.info
        key_of: dict[int, bool] = {}
        count = 0
        with open_input(info.path) as container, contextlib.suppress(av.error.FFmpegError, OSError):
            clock = ContinuousClock(container)
            for packet in clock.packets():
                if clock.jumped:
                    return None
                if packet.size and packet.stream.index == info.stream_index:
                    if packet.pts is None or packet.is_discard or packet.is_corrupt:
                        return None
                    key_of[packet.pts] = packet.is_keyframe
                    count += 1
        pts = sorted(key_of)
        # Packets that decode to nothing, such as damaged ones, would shift the numbers of the frames after them.
        known = np.rint((times + info.start_seconds) / float(info.time_base))
        if count != len(pts) or not np.array_equal(known, pts):
            return None
        return pts, [index for index, value in enumerate(pts) if key_of[value]]

    def _frames(self, start: int, stop: int | None) -> Generator[Frame, None, None]:
        if stop is not None and stop <= start:
            return
        with contextlib.closing(self._source(start)) as source:
            for frame in source:
                if frame.index >= start:
                    yield frame
                if stop is not None and frame.index + 1 >= stop:
                    return

    def _source(self, start: int) -> Generator[Frame, None, None]:
        """Decode from frame `start` where a seek leads there exactly, else from the beginning."""
        if self._can_seek(start):
            sought = self._from_key(start)
            # A demuxer may seek to the wrong place, or not at all: the beginning is always right.
            first = next(sought, None)
            if first is not None:
                return _chain(first, sought)
        return self._from_beginning()

    def _can_seek(self, start: int) -> bool:
        """Return whether frame `start` is known and a key frame other than the first lies before it."""
        return self._exact and start < len(self._pts) and bisect_right(self._keys, start) > 1

    def _from_beginning(self) -> Generator[Frame, None, None]:
        """Decode the whole file, noting times and key frames."""
        info = self.info
        with open_input(info.path) as container:
            stream = container.streams[info.stream_index]
            decoder, times = VideoDecoder(container, stream, info.path, info.start_seconds), FrameTimes()
            last: Frame | None = None
            for image in decoder.frames():
                pts = times.next(
                    image.pts if last or image.pts is not None else stream.start_time or 0, self._ticks(image)
                )
                last = self._frame(image, 0 if last is None else last.index + 1, pts)
                if last.index < len(self._pts):
                    self._exact = self._exact and pts == self._pts[last.index]
                else:
                    self._exact = self._exact and pts == image.pts and decoder.stamps_kept
                    self._pts.append(pts)
                    if image.key_frame:
                        self._keys.append(last.index)
                yield last

    def _from_key(self, start: int) -> Generator[Frame, None, None]:
        """Decode from the key frame before `start`; yields nothing if the seek did not lead there.

        The key frame is one in presentation order: frames that are shown before it but stored after it
        (open groups of pictures) cannot be decoded from it, and lie before it.
        """
        info = self.info
        key = self._keys[bisect_right(self._keys, start) - 1]
        with open_input(info.path) as container:
            stream = container.streams[info.stream_index]
            try:
                container.seek(self._pts[key] - round(start_offset(container) / info.time_base), stream=stream)
            except (av.error.FFmpegError, OSError):
                return
            index: int | None = None
            confirmed = False
            for image in VideoDecoder(container, stream, info.path, info.start_seconds).frames():
                if image.pts == self._pts[key]:
                    confirmed = bool(image.key_frame)
                if index is None and (image.pts is None or image.pts < self._pts[start]):
                    continue
                if index is None and not (confirmed and image.pts == self._pts[start]):
                    return  # the seek went past the key frame, or the file has other times from here
                if image.pts is None:
                    return
                index = start if index is None else index + 1
                yield self._frame(image, index, int(image.pts))

    def _frame(self, image: Any, index: int, pts: int) -> Frame:
        info = self.info
        time = float(pts * info.time_base) - info.start_seconds
        return Frame(index, time, pts, self._ticks(image), image, info.orientation)

    def _ticks(self, image: Any) -> int:
        """Return how long a frame is shown by its own word, else by the average rate, in ticks."""
        return max(1, int(image.duration or round(1 / (self.info.average_fps * self.info.time_base))))


def _chain(first: Frame, rest: Generator[Frame, None, None]) -> Generator[Frame, None, None]:
    """Yield `first`, then `rest`; closing this closes `rest`."""
    with contextlib.closing(rest):
        yield first
        yield from rest


class FrameTimes:
    """Times of frames that increase, where their stamps may be missing, repeated or too early.

    A frame without a stamp follows the one before it. One whose stamp is not later than the frame before it takes half
    of that frame's time, so that it is seen and later frames are in time again soon; where stamps stand still, all.
    """

    def __init__(self) -> None:
        self._last: int | None = None
        self._duration = 1  # of the last frame
        self._stamp: int | None = None  # latest of all so far
        self._standing = 0  # frames since then

    def next(self, stamp: int | None, duration: int) -> int:
        """Return the presentation time of the next frame, in ticks.

        Args:
            stamp: Its own, if it has one.
            duration: How long it is shown by its own word, in ticks.
        """
        self._last, self._duration = self._time(stamp), duration
        return self._last

    def _time(self, stamp: int | None) -> int:
        if self._last is None:
            self._stamp = stamp
            return stamp or 0
        if stamp is None:
            return self._last + self._duration
        self._standing = 0 if self._stamp is None or stamp > self._stamp else self._standing + 1
        self._stamp = stamp if self._stamp is None else max(stamp, self._stamp)
        if stamp > self._last:
            return stamp
        return self._last + (self._duration if self._standing > 1 else max(1, self._duration // 2))
