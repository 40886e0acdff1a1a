"""personatalk.media.audio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from ..errors import MediaError
from ..utils.arrays import Array
from .probe import BAD_PACKETS_IN_A_ROW, audio_stream, container_start, open_input


def read_speech(path: Path | str, rate: int = 16000) -> Array:
    """Read the sound of an audio or video file for the network.

    Args:
        path: The file; of several sound tracks the default one is taken.
        rate: Samples per second of the result.

    Returns:
        float32 (N,) in about -1..1: the mean of the channels. Sample 0 is at the file's start: a sound
        track that starts after its video has silence in front.

    Raises:
        MediaError: Missing, not a media file, without sound, with 0 samples, or damaged.
    """
    heard = bytearray()  # grows in place: an hour is held once
    for piece in _speech_pieces(Path(path), rate):
        heard += piece.tobytes()
    return np.frombuffer(heard, np.float32)


@dataclass(frozen=True)
class SampleFile:
    """Sound that lies on the disk and is read where it is asked for: an hour of it needs no memory.

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
        """Samples start..stop - 1, as far as there are any."""
        return SampleFile(self.path, *(min(self.start + place, self.stop) for place in (start, stop)))


def store_speech(path: Path | str, target: Path, rate: int = 16000) -> SampleFile:
    """`read_speech` to the disk.

    Args:
        path: The file with the sound.
        target: Where the samples are written.
        rate: Samples per second of the result.

    Raises:
        MediaError: As `read_speech`, or `target` cannot be written.
    """
    count = 0
    try:
        with target.open("wb") as file:
            for piece in _speech_pieces(Path(path), rate):
                file.write(piece.tobytes())
                count += len(piece)
    except OSError as error:
        raise MediaError(f"{target}: the speech cannot be kept ({error.strerror or error})") from error
    return SampleFile(target, 0, count)


def _speech_pieces(path: Path, rate: int) -> Iterator[Array]:
    with open_input(path) as container:
        stream = audio_stream(container, path)
        heard, early, count = False, 0, 0
        for frame, seconds in decode_speech(container, stream, path, rate=rate):
            piece = np.asarray(frame.to_ndarray(), np.float32).mean(axis=0)
            if not heard:
                heard, offset = True, round(seconds * rate)
                if offset > 0:
                    yield np.zeros(offset, np.float32)
                early = max(0, -offset)
            cut = min(early, len(piece))
            early, count = early - cut, count + len(piece) - cut
            yield piece[cut:]
    if not count:
        raise MediaError(f"{path} has a sound track with 0 samples; name a file with speech")


def decode_speech(
    container: Any,
    stream: Any,
    path: Path,
    *,
    rate: int,
    sample_format: str = "fltp",
    layout: str | None = None,
    frame_size: int | None = None,
) -> Iterator[tuple[Any, float]]:
    """Decode and resample a sound track piece by piece.

    Args:
        container: The opened file.
        stream: Its audio stream.
        path: The file's name, for messages.
        rate: Samples per second of the result.
        sample_format: FFmpeg's name of the sample format of the result.
        layout: Channel layout of the result, None for the track's own.
        frame_size: Samples per yielded frame, None for any.

    Yields:
        Pairs of an `av.AudioFrame` and the presentation time in seconds at which the *track* starts.

    Raises:
        MediaError: The track cannot be decoded.
    """
    base = container_start(container, stream)
    seconds: float | None = None
    bad = 0
    try:
        layout = layout or stream.codec_context.layout.name
        resampler = av.AudioResampler(sample_format, layout, rate, frame_size or None)
        for packet in container.demux(stream):
            try:
                decoded = packet.decode()
                bad = 0
            except EOFError:
                decoded = []
            except av.error.FFmpegError:
                bad += 1
                if bad >= BAD_PACKETS_IN_A_ROW:
                    raise
                decoded = []
            for frame in decoded:
                if seconds is None:
                    seconds = 0.0 if frame.time is None else frame.time - base
                for piece in resampler.resample(frame):
                    yield piece, seconds
        for piece in resampler.resample(None) if seconds is not None else ():
            yield piece, seconds or 0.0
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{path} has damaged sound ({reason}); copy or convert it again") from error
