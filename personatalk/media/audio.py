"""Audio tracks as samples: in memory, on the disk, or frame by frame."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from ..errors import MediaError
from ..utils.arrays import Array
from .clock import ContinuousClock
from .container import audio_stream, container_start, open_input, reason_of
from .decoder import PacketDecoder


class AudioStream:
    """An audio track of an opened file, decoded and resampled frame by frame.

    Attributes:
        start_seconds: Start of the track on the presentation timeline, in seconds; 0.0 for a track without samples.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: av.AudioStream,
        path: Path,
        *,
        rate: int,
        sample_format: str = "fltp",
        layout: str | None = None,
        frame_size: int | None = None,
    ) -> None:
        """Decode the first frame; see `open_audio`.

        Args:
            container: The opened file.
            stream: Its audio stream.
            path: The file's name, for messages.
            rate: Samples per second of the frames.
            sample_format: FFmpeg's name of the frames' sample format.
            layout: Channel layout of the frames, None for the track's own.
            frame_size: Samples per frame, None for any.

        Raises:
            MediaError: The track cannot be decoded.
        """
        self._path = path
        with self._explained():
            layout = layout or stream.codec_context.layout.name
            self._resampler = av.AudioResampler(sample_format, layout, rate, frame_size or None)
            self._decoded = _decoded(container, stream)
            self._first = next(self._decoded, None)
        self.start_seconds = 0.0
        if self._first is not None and self._first.time is not None:
            self.start_seconds = self._first.time - container_start(container, stream)

    def frames(self) -> Iterator[av.AudioFrame]:
        """Yield the resampled frames; a track is read once.

        Raises:
            MediaError: The track cannot be decoded.
        """
        if self._first is None:
            return
        with self._explained():
            for frame in chain([self._first], self._decoded):
                yield from self._resampler.resample(frame)
            yield from self._resampler.resample(None)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn FFmpeg's and the system's errors into MediaError."""
        try:
            yield
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = reason_of(error)
            raise MediaError(f"{self._path} has damaged sound ({reason}); copy or convert it again") from error


def _decoded(container: InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    packets = PacketDecoder()
    for packet in ContinuousClock(container).packets():
        if packet.stream.index == stream.index:
            yield from packets.decode(packet)


@contextlib.contextmanager
def open_audio(path: Path, *, rate: int, layout: str | None = None) -> Iterator[AudioStream]:
    """Open the audio track that players play, and close its file afterwards.

    Args:
        path: An audio or video file.
        rate: Samples per second of the frames.
        layout: Channel layout of the frames, None for the track's own.

    Yields:
        The track; its frames are planar float32.

    Raises:
        MediaError: Missing, not a media file, without audio, or damaged.
    """
    with open_input(path) as container:
        yield AudioStream(container, audio_stream(container, path), path, rate=rate, layout=layout)


def read_speech(path: Path | str, rate: int = 16000) -> Array:
    """Read the audio of an audio or video file for the network.

    Args:
        path: The file; of several audio tracks the default one is taken.
        rate: Samples per second of the result.

    Returns:
        float32 (N,) in about -1..1: the mean of the channels. Sample 0 is at the file's start: a track that
        starts after its video has silence in front.

    Raises:
        MediaError: Missing, not a media file, without audio, with 0 samples, or damaged.
    """
    samples = bytearray()  # grows in place: an hour is held once
    for block in _mono_blocks(Path(path), rate):
        samples += block.tobytes()
    return np.frombuffer(samples, np.float32)


@dataclass(frozen=True)
class SampleFile:
    """Samples that lie on the disk and are read where they are asked for: an hour of them needs no memory.

    Attributes:
        path: float32 samples and nothing else.
        start: The first sample that belongs to it.
        stop: The one after the last.
    """

    path: Path
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, span: slice) -> Array:
        start, stop, _ = span.indices(len(self))
        return np.fromfile(self.path, np.float32, max(0, stop - start), offset=4 * (self.start + start))

    def part(self, start: int, stop: int) -> SampleFile:
        """Return samples `start` to `stop` - 1, as far as there are any."""
        return SampleFile(self.path, min(self.start + start, self.stop), min(self.start + stop, self.stop))


def store_speech(path: Path | str, target: Path, rate: int = 16000) -> SampleFile:
    """Write what `read_speech` returns to the disk.

    Args:
        path: The file with the audio.
        target: Where the samples are written.
        rate: Samples per second of the result.

    Raises:
        MediaError: As `read_speech`, or `target` cannot be written.
    """
    count = 0
    try:
        with target.open("wb") as file:
            for block in _mono_blocks(Path(path), rate):
                file.write(block.tobytes())
                count += len(block)
    except OSError as error:
        raise MediaError(f"{target}: the speech cannot be kept ({error.strerror or error})") from error
    return SampleFile(target, 0, count)


def _mono_blocks(path: Path, rate: int) -> Iterator[Array]:
    """Yield the samples of `read_speech` block by block."""
    count = 0
    with open_audio(path, rate=rate) as audio:
        offset = round(audio.start_seconds * rate)
        if offset > 0:
            yield np.zeros(offset, np.float32)
        early = max(0, -offset)
        for frame in audio.frames():
            block = np.asarray(frame.to_ndarray(), np.float32).mean(axis=0)
            cut = min(early, len(block))
            early, count = early - cut, count + len(block) - cut
            yield block[cut:]
    if not count:
        raise MediaError(f"{path} has a sound track with 0 samples; name a file with speech")
