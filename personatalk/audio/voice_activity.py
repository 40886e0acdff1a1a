"""Voice activity: where the mouth moves and where it rests."""

from __future__ import annotations

import itertools
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from ..utils.arrays import Array, BoolArray
from .loudness import LEVEL, AudioSource, match_loudness
from .rates import FPS, SAMPLE_RATE
from .speech_detector import speech_frames

Weights: TypeAlias = npt.NDArray[np.float64]

# Samples of a frame at 25 a second.
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
# Loudness in dB, relative to the loud parts of the speech: up to the first the mouth rests, from the second on it moves
# freely.
SILENCE_DB = (-50.0, -40.0)
# Frames on either side that must be silent as well: the silence before a plosive is no pause.
PAUSE_FRAMES = 5
# Silence in seconds up to which `speech_mask` counts it as part of the speech.
PAUSE_SECONDS = 0.6


def voice_activity(samples: AudioSource, level: float = LEVEL, silent: int = 0) -> Array:
    """Weigh each frame at 25 a second between rest, 0, and speech, 1.

    A frame is speech where it is loud enough and where the detector hears speech, so that noise and music leave the
    mouth at rest.

    Args:
        samples: Loudness-normalised speech at 16 kHz, (N,).
        level: Root mean square that the loud parts were normalised to.
        silent: Frames of silence that are appended to the speech.

    Returns:
        float32 (T + silent,) in 0..1, T frames that are begun by the samples.
    """
    voice = loudness_gate(samples, level) * speech_frames(samples)
    return without_gaps(np.append(voice, np.zeros(silent))).astype(np.float32)


def loudness_gate(samples: AudioSource, level: float = LEVEL) -> Weights:
    """Weigh each frame by its loudness alone, (T,) in 0..1; arguments as in `voice_activity`."""
    count = -(-len(samples) // SAMPLES_PER_FRAME)
    # Frame by frame: squares of a whole hour would take as much memory as the hour.
    frames = (samples[i * SAMPLES_PER_FRAME : (i + 1) * SAMPLES_PER_FRAME] for i in range(count))
    power = np.array([np.square(frame).sum() / SAMPLES_PER_FRAME for frame in frames])
    decibel = 10 * np.log10(power / level**2 + 1e-12)
    low, high = SILENCE_DB
    return np.clip((decibel - low) / (high - low), 0, 1)


def without_gaps(voice: Weights) -> Weights:
    """Fill gaps too short for a pause, and soften what begins and ends, (T,) to (T,)."""
    if not len(voice):
        return voice
    filled = sliding_window_view(np.pad(voice, PAUSE_FRAMES), 2 * PAUSE_FRAMES + 1).max(axis=1)
    # The mouth closes and opens within a few frames, not at once.
    softened: Weights = sliding_window_view(np.pad(filled, PAUSE_FRAMES // 2, mode="edge"), PAUSE_FRAMES).mean(axis=1)
    return softened


def speech_mask(samples: AudioSource, times: npt.NDArray[np.float64], pause: float = PAUSE_SECONDS) -> BoolArray:
    """Return whether there is speech at given times, bool (N,).

    Args:
        samples: Speech at 16 kHz, (S,), as it was read.
        times: Seconds, (N,).
        pause: Seconds of silence up to which it counts as part of the speech.
    """
    voice = np.append(voice_activity(match_loudness(samples)) > 0, False)
    heard = np.flatnonzero(voice)
    for before, after in itertools.pairwise(heard):
        if after - before <= pause * FPS:
            voice[before:after] = True
    found: BoolArray = voice[np.clip((times * FPS).astype(np.int64), 0, len(voice) - 1)]
    return found
