"""Audio tracks as samples: in memory, on the disk, or frame by frame."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby, pairwise
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from ..errors import MediaError
from ..utils.arrays import Array
from .audio_clock import AudioClock
from .clock import ContinuousClock
from .container import audio_stream, container_start, open_input, reason_of
from .decoder import PacketDecoder
from .downmix import downmix
from .probe import SpeechInfo, layout_name

# A float sample that is no number or beyond this (full scale is 1) is damage; encoders refuse it.
LOUDEST = 1e6

# With more than this share of all power on the channel of low frequencies, more than its rumble is there.
LFE_SHARE = 0.9


class AudioStream:
    """An audio track of an opened file, decoded and resampled block by block.

    Samples lie where the file's time stamps put them: the first one is at the file's start, holes are silent, and of
    samples that overlap the first ones count.

    Attributes:
        rate: Samples per second of the blocks.
        layout: Channel layout of the blocks.
        runs: Number of stretches so far that needed nothing of this; a track as it should be has one.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: av.AudioStream,
        path: Path,
        *,
        rate: int,
        sample_format: str = "flt",
        layout: str | None = None,
    ) -> None:
        """Prepare the decoder; see `open_audio`.

        Args:
            container: The opened file.
            stream: Its audio stream.
            path: The file's name, for messages.
            rate: Samples per second of the blocks.
            sample_format: "flt" for float32 samples, "s32" for int32.
            layout: Channel layout of the blocks, None for the track's own.

        Raises:
            MediaError: The track cannot be decoded.
        """
        self._path, self._container, self._stream = path, container, stream
        self._sample_format = sample_format
        self.rate, self.runs = rate, 0
        with self._explained():
            self.layout = layout or layout_name(stream.codec_context.layout)
            self._channels = av.AudioLayout(self.layout).nb_channels

    def blocks(self, until: float | None = None) -> Iterator[Array]:
        """Yield the samples (N, C), one block after the other; a track is read once.

        Args:
            until: Seconds from the file's start after which nothing is read; None reads all.

        Raises:
            MediaError: The track cannot be decoded.
        """
        end = None if until is None else round(until * self.rate)
        count = 0
        with self._explained():
            for block in self._placed():
                yield block if end is None else block[: end - count]
                count += len(block)
                if end is not None and count >= end:
                    return

    def _placed(self) -> Iterator[Array]:
        """Yield the samples of all runs, with silence between them."""
        clock = AudioClock.of(self._container, container_start(self._container, self._stream))
        count = 0
        decoded = chain(_decoded(self._container, self._stream), [None])
        for number, pairs in groupby(pairwise(decoded), clock.run_of):
            self.runs = number
            place = round(clock.begin * self.rate)
            for silence in self._silence(place - count):
                count += len(silence)
                yield silence
            for block in self._resampled(frame for frame, _ in pairs):
                new = block[max(0, count - place) :]
                place += len(block)
                count += len(new)
                if len(new):
                    yield new

    def _silence(self, count: int) -> Iterator[Array]:
        """Yield silence in blocks of a second."""
        kind = np.int32 if self._sample_format == "s32" else np.float32
        for first in range(0, count, self.rate):
            yield np.zeros((min(self.rate, count - first), self._channels), kind)

    def _resampled(self, frames: Iterable[av.AudioFrame]) -> Iterator[Array]:
        """Yield frames of one format as blocks; what is no number, or far beyond all sound, is silent."""
        # Packed: of planar audio PyAV makes no array beyond 7 channels.
        resampler = av.AudioResampler(self._sample_format, self.layout, self.rate)
        for frame in chain(frames, [None]):
            for part in resampler.resample(frame):
                block = part.to_ndarray().reshape(-1, self._channels)
                if self._sample_format == "flt" and not np.abs(block).max(initial=0) < LOUDEST:
                    block = np.where(np.abs(block) < LOUDEST, block, np.float32(0))
                yield block

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
        rate: Samples per second of the blocks.
        layout: Channel layout of the blocks, None for the track's own.

    Yields:
        The track; its blocks are float32.

    Raises:
        MediaError: Missing, not a media file, without audio, or damaged.
    """
    with open_input(path) as container:
        yield AudioStream(container, audio_stream(container, path), path, rate=rate, layout=layout)


def mono_blocks(path: Path, rate: int, until: float | None = None) -> Iterator[Array]:
    """Yield the samples of `read_speech` block by block.

    Args:
        path: The file.
        rate: Samples per second.
        until: Seconds from the file's start after which nothing is read; None reads all.

    Raises:
        MediaError: As `read_speech`.
    """
    count = 0
    with open_audio(path, rate=rate) as audio:
        for block in downmix(audio.blocks(until), rate):
            count += len(block)
            yield block
    if not count:
        raise MediaError(f"{path} has a sound track with 0 samples; name a file with speech")


def stereo_blocks(path: Path, rate: int) -> Iterator[Array]:
    """Yield a track's samples as stereo, (N, 2): one channel, or channels without a layout, on both sides.

    Raises:
        MediaError: As `open_audio`.
    """
    with open_input(path) as container:
        stream = audio_stream(container, path)
        context = stream.codec_context
        alike = context.layout.nb_channels == 1 or layout_name(context.layout).endswith("channels")
        audio = AudioStream(container, stream, path, rate=rate, layout=None if alike else "stereo")
        for block in downmix(audio.blocks(), rate) if alike else audio.blocks():
            yield np.repeat(block[:, None], 2, axis=1) if alike else block


def is_continuous(path: Path, rate: int) -> bool:
    """Return whether an audio track is one stretch of samples of one format, by its time stamps."""
    with open_audio(path, rate=rate) as audio:
        for _ in audio.blocks():
            if audio.runs > 1:
                return False
    return True


def loses_channels(path: Path, info: SpeechInfo, until: float | None = None) -> bool:
    """Return whether players would leave out a channel that matters.

    They do so with channels that have no place in a layout, and with most of what lies on the channel of low
    frequencies (LFE).

    Args:
        path: The file.
        info: Its description.
        until: Seconds after which nothing counts.
    """
    if info.layout.endswith("channels"):
        return True
    low = [number for number, channel in enumerate(av.AudioLayout(info.layout).channels) if channel.name == "LFE"]
    if not low:
        return False
    power = np.zeros(info.channels)
    with open_audio(path, rate=info.rate) as audio:
        for block in audio.blocks(until):
            power += np.einsum("nc,nc->c", block, block)
    return bool(power[low].sum() > LFE_SHARE * power.sum())


def read_speech(path: Path | str, rate: int = 16000) -> Array:
    """Read the audio of an audio or video file for the network.

    Args:
        path: The file; of several audio tracks the default one is taken.
        rate: Samples per second of the result.

    Returns:
        float32 (N,) in about -1..1: the mean of the channels, or the loudest of them where they cancel each other.
        Sample 0 is at the file's start; a late start and holes in the time stamps are silent.

    Raises:
        MediaError: Missing, not a media file, without audio, with 0 samples, or damaged.
    """
    samples = bytearray()  # grows in place: an hour is held once
    for block in mono_blocks(Path(path), rate):
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


def store_speech(path: Path | str, target: Path, rate: int = 16000, until: float | None = None) -> SampleFile:
    """Write what `read_speech` returns to the disk.

    Args:
        path: The file with the audio.
        target: Where the samples are written.
        rate: Samples per second of the result.
        until: Seconds after which nothing is needed; None keeps all.

    Raises:
        MediaError: As `read_speech`, or `target` cannot be written.
    """
    count = 0
    try:
        with target.open("wb") as file:
            for block in mono_blocks(Path(path), rate, until):
                file.write(block.tobytes())
                count += len(block)
    except OSError as error:
        raise MediaError(f"{target}: the speech cannot be kept ({error.strerror or error})") from error
    return SampleFile(target, 0, count)
