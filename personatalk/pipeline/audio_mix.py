"""The audio of a video with cues: the source's audio, with each cue's speech in place of it in that cue's time."""

from __future__ import annotations

import math
import struct
import wave
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import MediaError
from ..media.audio import mono_blocks, stereo_blocks
from ..media.probe import probe_speech
from .cues import Cue

# Sample rate where the source has no audio.
RATE = 48000

# Seconds of the fade from the audio of one file to that of another.
CROSSFADE_SECONDS = 0.01

# Bytes of the header that `wave` writes.
WAV_HEADER = 44

Samples = npt.NDArray[np.int16]


def mix_cues(video: Path, cues: Sequence[Cue], seconds: float, path: Path) -> None:
    """Write the audio as 16-bit WAV, in the source's rate and in stereo if the source has more than one channel.

    Inside a cue nothing of the source's audio is left; cues that overlap add up.

    Args:
        video: The source, with or without audio.
        cues: Who says what, when.
        seconds: Length of the result.
        path: File to write.

    Raises:
        MediaError: Audio cannot be read, or the file cannot be written.
    """
    try:
        _mix(video, cues, seconds, path)
    except (OSError, struct.error) as error:
        raise MediaError(f"{path}: the audio cannot be written ({error})") from error


def _mix(video: Path, cues: Sequence[Cue], seconds: float, path: Path) -> None:
    try:
        info = probe_speech(video)
        rate, channels = info.rate, min(2, info.channels)
    except MediaError:
        rate, channels = RATE, 1
        info = None
    total = math.ceil(seconds * rate)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", "not compressed"))
        for left in range(total, 0, -rate):
            file.writeframes(bytes(2 * channels * min(left, rate)))
    # The pages live on the disk, so that an hour of audio needs no more memory than a second.
    data = np.memmap(path, np.dtype("<i2"), "r+", WAV_HEADER, (total, channels))
    if info is not None:
        for start, block in _blocks(video, rate, channels, 0.0, seconds):
            _add(data, block, start)
    for cue in cues:
        _clear(data, cue, rate)
    for cue in cues:
        for start, block in _blocks(cue.speech, rate, channels, cue.offset, cue.offset + cue.end - cue.start):
            _add(data, block, start + round((cue.start - cue.offset) * rate))
    data.flush()


def _blocks(path: Path, rate: int, channels: int, begin: float, end: float) -> Iterator[tuple[int, Any]]:
    """Yield the audio between two times as (first sample, float (N, C)), faded at an end at which it is cut."""
    first, last, fade = round(begin * rate), round(end * rate), CROSSFADE_SECONDS * rate
    waiting: deque[tuple[int, Any]] = deque()  # which may have to fade out, if there is more behind the end
    for start, block in _placed(path, rate, channels):
        if start + len(block) <= first:
            continue
        waiting.append((start, block))
        if start + len(block) > last:
            yield from (_part(*known, first, last, fade, True) for known in waiting if known[0] < last)
            return
        while waiting and waiting[0][0] + len(waiting[0][1]) <= last - fade:
            yield _part(*waiting.popleft(), first, last, fade, False)
    yield from (_part(*known, first, last, fade, False) for known in waiting)


def _part(start: int, block: Any, first: int, last: int, fade: float, cut: bool) -> tuple[int, Any]:
    """Return the part of a block that lies between two samples, and its first sample.

    It fades in over `fade` samples where something before it is left out, and out where the end is cut.
    """
    numbers = np.arange(start, start + len(block))
    edge = np.ones(len(block))
    if first > 0:
        edge = np.minimum(edge, (numbers - first) / fade)
    if cut:
        edge = np.minimum(edge, (last - numbers) / fade)
    inside = (numbers >= first) & (numbers < last)
    return max(start, first), (block * np.clip(edge, 0, 1)[:, None])[inside]


def _placed(path: Path, rate: int, channels: int) -> Iterator[tuple[int, Any]]:
    """Yield a file's audio as (first sample, (N, C)) in the range of 16 bits."""
    place = 0
    for block in stereo_blocks(path, rate) if channels == 2 else mono_blocks(path, rate):
        yield place, block.reshape(-1, channels) * 32767.0
        place += len(block)


def _add(data: Samples, block: Any, start: int) -> None:
    """Add audio at a sample, as far as it lies inside, without overflow."""
    if start < 0:
        block, start = block[-start:], 0
    block = block[: max(0, len(data) - start)]
    there = slice(start, start + len(block))
    data[there] = np.clip(np.rint(data[there] + block), -32768, 32767).astype(np.int16)


def _clear(data: Samples, cue: Cue, rate: int) -> None:
    """Silence the source's audio in a cue, and fade it around the cue."""
    start, stop, length = round(cue.start * rate), round(cue.end * rate), round(CROSSFADE_SECONDS * rate)
    data[start:stop] = 0
    before, after = data[max(0, start - length) : start], data[stop : stop + length]
    before[:] = (before * np.linspace(1, 0, len(before))[:, None]).astype(np.int16)
    after[:] = (after * np.linspace(0, 1, len(after))[:, None]).astype(np.int16)
