"""Decoding of files that may be damaged: single bad packets are skipped, a broken file is an error."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from ..errors import MediaError
from .clock import ContinuousClock
from .container import MICROSECONDS, reaches_its_end, reason_of

# Packets that cannot be decoded: this many in a row, or this share of all, and the file is given up.
BAD_PACKETS_IN_A_ROW = 25
BAD_PACKETS_SHARE = 0.1

# Containers that write down how long they are. Others have it estimated from the data that is there.
DECLARED_DURATION = ("mov,mp4", "matroska", "avi", "flv", "asf")

# Containers that write down where each packet lies.
LISTS_PACKETS = "mov,mp4"

# Containers that store frames without the times at which they are shown.
WITHOUT_TIMES = ("avi",)

# How much of a declared duration may be missing: writers round it, and some count a last frame twice.
MISSING_SECONDS = 0.5
MISSING_SHARE = 0.05


class PacketDecoder:
    """Decodes packets and skips bad ones, since decoders go on at the next good one.

    Attributes:
        packets: Number of packets so far.
        bad: Number of those that could not be decoded.
    """

    def __init__(self) -> None:
        self.packets = 0
        self.bad = 0
        self._bad_in_a_row = 0

    def decode(self, packet: av.Packet) -> list[Any]:
        """Return the frames of a packet, none for a bad one.

        Raises:
            av.error.FFmpegError: Too many packets in a row are bad.
        """
        self.packets += 1
        try:
            frames = packet.decode()
        except EOFError:
            return []
        except av.error.FFmpegError:
            self.bad += 1
            self._bad_in_a_row += 1
            if self._bad_in_a_row >= BAD_PACKETS_IN_A_ROW:
                raise
            return []
        self._bad_in_a_row = 0
        return list(frames)

    def mostly_good(self) -> bool:
        """Return whether the share of bad packets is small enough to trust the rest."""
        return self.bad <= max(1, BAD_PACKETS_SHARE * self.packets)


class VideoDecoder:
    """Decodes the video of an opened file and notices when the file is not whole.

    Args:
        container: The opened file.
        stream: Its video stream.
        path: The file's name, for messages.
        start_seconds: The file's start on its own clock, for the times in messages.
    """

    def __init__(self, container: InputContainer, stream: av.VideoStream, path: Path, start_seconds: float) -> None:
        self.container = container
        self.stream = stream
        self.path = path
        self.start_seconds = start_seconds
        self._clock = ContinuousClock(container)
        # Times of packets whose frames are still to come, where frames are shown one by one at the times of packets.
        self._waiting: list[int] | None = [] if container.format.name in WITHOUT_TIMES else None
        self._reordered = False
        self._packets = PacketDecoder()
        self._data_until = -math.inf  # seconds on the file's clock, over all its streams
        self._decoded_until = 0.0  # seconds on the presentation timeline
        self._lists_packets = container.format.name.startswith(LISTS_PACKETS)
        self._place = -1  # of the latest whole packet of the video in the file

    @property
    def stamps_kept(self) -> bool:
        """Return whether all frames so far have the times that their packets have in the file."""
        return not (self._clock.jumped or self._reordered)

    def frames(self) -> Iterator[av.VideoFrame]:
        """Yield decoded frames in presentation order; the last one lasts as long as the file says.

        Raises:
            MediaError: Reading fails, too many packets cannot be decoded, or the file ends too early.
        """
        latest: av.VideoFrame | None = None
        for image in self._decoded_frames():
            if latest is not None:
                yield latest
            latest = image
        self._check_whole()
        if latest is not None:
            self._hold(latest)
            yield latest

    def _decoded_frames(self) -> Iterator[av.VideoFrame]:
        self.stream.thread_type = "AUTO"
        for packet in self._demux():
            if packet.pts is not None and packet.time_base:
                self._data_until = max(self._data_until, float((packet.pts + packet.duration) * packet.time_base))
            # Not packet.stream_index, which is 0 in the empty packets that end each stream.
            if packet.stream.index != self.stream.index:
                continue
            if packet.size:
                self._place = -1 if packet.is_corrupt else packet.pos
            bad = self._packets.bad
            images = self._decode(packet)
            if self._waiting is not None:
                self._set_times(self._waiting, packet.dts if self._packets.bad == bad else None, images)
            for image in images:
                if image.pts is not None:
                    self._decoded_until = float(image.pts * self.stream.time_base) - self.start_seconds
                yield image

    def _set_times(self, waiting: list[int], dts: int | None, images: list[av.VideoFrame]) -> None:
        """Give frames, in the order in which they are shown, the earliest times of packets not yet shown."""
        if dts is not None:
            heapq.heappush(waiting, dts)
        for image in images:
            if waiting:
                self._reordered |= image.pts != waiting[0]
                image.pts = heapq.heappop(waiting)

    def _demux(self) -> Iterator[av.Packet]:
        """Read packets of all streams: the others tell how far a file reaches whose video ends first."""
        try:
            yield from self._clock.packets()
        except (av.error.FFmpegError, OSError) as error:
            raise self._damaged(reason_of(error)) from error

    def _decode(self, packet: av.Packet) -> list[av.VideoFrame]:
        try:
            return self._packets.decode(packet)
        except av.error.FFmpegError as error:
            raise self._damaged(error.strerror or "cannot be decoded") from error

    def _check_whole(self) -> None:
        """Complain at the end of the data if there should have been clearly more."""
        if not self._packets.mostly_good():
            raise self._damaged(f"{self._packets.bad} of {self._packets.packets} packets cannot be decoded")
        if self._is_short() and not self._is_whole():
            raise self._damaged(f"its header promises {self._declared_end():.1f} s")

    def _declared_end(self) -> float:
        """Return how long the file says that it is, or where it ends, in seconds; 0 where it does not say.

        Some containers declare the length and some the end; the later of both is never wrong here.
        """
        declares = self.container.format.name.startswith(DECLARED_DURATION)
        return (self.container.duration or 0) / MICROSECONDS if declares else 0.0

    def _is_short(self) -> bool:
        """Return whether the packets end clearly before the declared end."""
        end = self._declared_end()
        # The last frame may have no duration of its own.
        missing = MISSING_SECONDS + float(1 / (self.stream.average_rate or 25))
        return end > 0 and self._data_until < end - max(missing, MISSING_SHARE * end)

    def _is_whole(self) -> bool:
        """Return whether no packet is missing for sure: the last frame may be shown until the declared end."""
        if self._lists_packets:
            known = self.stream.index_entries
            return 0 < len(known) == self.stream.frames and self._place == known[-1].pos
        return reaches_its_end(self.path, self.container.format.name)

    def _hold(self, last: av.VideoFrame) -> None:
        """Let the last frame last until the declared end, which not all demuxers say of its packet."""
        if self._lists_packets and self._is_whole():
            end = float(((self.stream.start_time or 0) + (self.stream.duration or 0)) * self.stream.time_base)
        else:
            end = self._declared_end() if self._is_short() else 0.0
        if last.pts is not None:
            last.duration = max(last.duration, round(end / self.stream.time_base) - last.pts)

    def _damaged(self, reason: str) -> MediaError:
        return MediaError(
            f"{self.path} is damaged after {max(0.0, self._decoded_until):.1f} s ({reason}); "
            "copy or download it again, or cut it before that time"
        )
