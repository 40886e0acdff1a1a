"""Clips that the tests cut from the embedded sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from personatalk.media.audio import read_speech
from personatalk.media.reader import VideoReader
from personatalk.sample import sample_files
from personatalk.utils.arrays import Array

Change = Callable[[int, np.ndarray], np.ndarray]


def sample_frames(count: int) -> list[np.ndarray]:
    """The first frames of the sample, uint8 (H, W, 3)."""
    with VideoReader(sample_files()[0]) as reader:
        return [frame.rgb() for frame in reader.frames(0, count)]


def sample_speech(folder: Path, frames: int) -> Path:
    """As much of the sample's speech as lasts so many frames, as WAV in a folder."""
    return write_sound(folder / "speech.wav", read_speech(sample_files()[1])[: 16000 * frames // 25])


def spoken(seconds: float) -> Array:
    """The sample's speech without the silence around it, over and over, 16 kHz."""
    speech = read_speech(sample_files()[1])[round(0.3 * 16000) : round(3.3 * 16000)]
    return np.resize(speech, round(seconds * 16000))


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    times: Sequence[float] | None = None,
    clockwise: int = 0,
    pix_fmt: str = "yuv420p",
    fps: int = 25,
) -> Path:
    """Write frames as H.264, at a constant rate or at given times in seconds."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=fps, options={"crf": "10", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = Fraction(1, 90000)
        if clockwise:
            stream.set_display_rotation(-clockwise)
        for number, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.time_base = Fraction(1, 90000)
            frame.pts = round((number / fps if times is None else times[number]) * 90000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def write_sound(path: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    """Write mono samples, -1..1, as WAV."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=rate, layout="mono")
        if len(samples):
            data = np.clip(samples * 32767, -32768, 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(data, format="s16", layout="mono")
            frame.sample_rate = rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def decoded(path: Path) -> list[np.ndarray]:
    """All frames of a video, upright RGB."""
    with VideoReader(path) as reader:
        return [frame.rgb() for frame in reader.frames()]


def frame_times(path: Path) -> list[float]:
    """Presentation times of all frames in seconds, on the file's own clock."""
    with VideoReader(path) as reader:
        return [float(frame.pts * reader.info.time_base) for frame in reader.frames()]
