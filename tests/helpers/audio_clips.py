"""Audio files with time stamps and channels as the test wants them, and the times at which something is heard."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from scipy.signal import butter, sosfilt

# Seconds of a window in which the lag is measured, and of the largest lag that is looked for.
WINDOW, REACH = 0.25, 0.2

Move = Callable[[float], float | None]


def voice(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    """Noise in the band of speech, louder and softer: no two stretches are alike."""
    noise = np.random.default_rng(seed).normal(size=round(seconds * rate))
    band = sosfilt(butter(2, (200, 3000), "bandpass", fs=rate, output="sos"), noise)
    return (0.25 * band / band.std() * (1.1 + np.sin(2 * np.pi * 3 * np.arange(len(noise)) / rate)) / 2).astype("f4")


def write_stamped(path: Path, codec: str, samples: np.ndarray, rate: int, move: Move, block: int = 320) -> Path:
    """Encode samples (N,), and move each packet from its time in seconds to another, or leave it out."""
    with av.open(str(path), "w") as out:
        track = out.add_stream(codec, rate=rate, layout="mono")
        track.codec_context.open()
        context = track.codec_context
        resampler = av.AudioResampler(context.format.name, "mono", rate, context.frame_size or block)
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], "fltp", "mono")
        frame.sample_rate = rate
        clock = 0
        packets = []
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            piece.pts, piece.time_base = clock, Fraction(1, rate)
            clock += piece.samples
            packets += track.encode(piece)
        for packet in packets + track.encode(None):
            time = float(packet.pts * packet.time_base)
            to = move(time)
            if to is not None:
                packet.pts = packet.dts = packet.pts + round((to - time) / packet.time_base)
                out.mux(packet)
    return path


def write_channels(path: Path, codec: str, samples: np.ndarray, rate: int, layout: str, sample_format: str) -> Path:
    """Encode samples (N, C) with a layout."""
    with av.open(str(path), "w") as out:
        track = out.add_stream(codec, rate=rate, layout=layout)
        track.codec_context.format = sample_format
        track.codec_context.open()
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32).reshape(1, -1), "flt", layout)
        frame.sample_rate = rate
        size = track.codec_context.frame_size or 1024
        resampler = av.AudioResampler(sample_format, layout, rate, size)
        clock = 0
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            piece.pts, piece.time_base = clock, Fraction(1, rate)
            clock += piece.samples
            out.mux(track.encode(piece))
        out.mux(track.encode(None))
    return path


def heard(path: Path, rate: int) -> np.ndarray:
    """Mean of the channels as a player that goes by the time stamps alone lets it be heard, from the file's start."""
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        start = (file.start_time or 0) / 1e6
        pieces = []
        for frame in file.decode(stream):
            packed = av.AudioResampler("flt", frame.layout.name, frame.sample_rate)
            parts = [part for one in (frame, None) for part in packed.resample(one)]
            values = np.concatenate([p.to_ndarray().reshape(-1, frame.layout.nb_channels) for p in parts]).mean(axis=1)
            at = (frame.time - start + np.arange(len(values)) / frame.sample_rate) * rate
            pieces.append((at, values))
    length = max(int(at[-1]) for at, _ in pieces) + 2
    sound = np.zeros(length, np.float32)
    for at, values in pieces:
        places = np.arange(max(0, int(np.ceil(at[0]))), int(at[-1]) + 1)
        sound[places] = np.interp(places, at, values)
    return sound


def lags(said: np.ndarray, sound: np.ndarray, rate: int) -> list[float]:
    """Seconds by which the sound lies behind what was said, in each window that is full of it."""
    found = []
    size, reach = round(WINDOW * rate), round(REACH * rate)
    padded = np.pad(sound, (reach, reach + len(said)))
    for begin in range(0, len(said) - size, size // 2):
        window = said[begin : begin + size]
        # A few samples at the edge of silence are alike in many places.
        if all(np.square(part).mean() > 1e-4 for part in np.array_split(window, 5)):
            there = padded[begin : begin + size + 2 * reach]
            found.append((int(np.correlate(there, window, "valid").argmax()) - reach) / rate)
    return found
