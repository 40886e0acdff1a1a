"""personatalk.audio.voice_activity."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from .encoder import FPS, SAMPLE_RATE
from .loudness import AudioSource, match_loudness

SAMPLES_PER_FRAME = SAMPLE_RATE // FPS

SILENCE_DB = (-50.0, -40.0)
"""Loudness against the speech's loud parts at which the mouth rests, and from which on it moves freely."""

PAUSE_FRAMES = 5
"""Frames on either side that must be silent as well: the silence before a plosive is no pause."""


def voice_activity(samples: AudioSource, level: float = 0.1, silent: int = 0) -> npt.NDArray[np.float32]:
    """How far each frame at 25 a second belongs to speech rather than to silence, (T,) in 0..1.

    It is a gate on loudness alone: the network hears everything else.

    Args:
        samples: Loudness-normalised speech at 16 kHz, (N,).
        level: Root mean square that the loud parts were normalised to.
        silent: Frames of silence after it that are told as well.
    """
    count = -(-len(samples) // SAMPLES_PER_FRAME)
    # Frame by frame: squares of a whole hour would take as much memory as the hour.
    frames = (samples[i * SAMPLES_PER_FRAME : (i + 1) * SAMPLES_PER_FRAME] for i in range(count))
    power = np.array([np.square(frame).sum() / SAMPLES_PER_FRAME for frame in frames])
    power = np.append(power, np.zeros(silent))
    count += silent
    decibel = 10 * np.log10(power / level**2 + 1e-12)
    low, high = SILENCE_DB
    voice = np.clip((decibel - low) / (high - low), 0, 1)
    if count:
        voice = maximum_filter1d(voice, 2 * PAUSE_FRAMES + 1, mode="constant")
        # The mouth closes and opens within a few frames, not at once.
        voice = uniform_filter1d(voice, PAUSE_FRAMES, mode="nearest")
    return voice.astype(np.float32)


def speech_mask(samples: AudioSource, times: npt.NDArray[np.float64], pause: float = 0.6) -> npt.NDArray[np.bool_]:
    """Whether there is speech at times in seconds, (N,) to (N,); silence shorter than a pause belongs to it.

    Args:
        samples: Speech at 16 kHz, (S,), as it was read.
        times: Seconds, (N,).
        pause: Seconds.
    """
    voice = np.append(voice_activity(match_loudness(samples)) > 0, False)
    heard = np.flatnonzero(voice)
    for before, after in itertools.pairwise(heard):
        if after - before <= pause * FPS:
            voice[before:after] = True
    found: npt.NDArray[np.bool_] = voice[np.clip((times * FPS).astype(np.int64), 0, len(voice) - 1)]
    return found
