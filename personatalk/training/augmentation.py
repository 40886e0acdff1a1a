"""Augmentation of speech: another gain, tilt, noise, room or speed."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.signal import fftconvolve, resample_poly

from ..audio.rates import SAMPLE_RATE
from ..utils.arrays import Array

# Share of the recordings that get reverberation.
REVERB_SHARE = 0.2


def augment(samples: Array, random: np.random.Generator) -> Array:
    """Return a recording at 16 kHz, (N,), with random gain, spectral tilt and noise, some of them in a random room."""
    if random.random() < REVERB_SHARE:
        samples = add_reverb(samples, random)
    tilt = random.uniform(-0.5, 0.5)
    tilted = samples + tilt * np.concatenate([samples[:1], samples[:-1]])
    gain = 10 ** random.uniform(-0.3, 0.3)
    noise = 10 ** random.uniform(-4.0, -1.8) * random.standard_normal(len(samples))
    return (gain * tilted + noise).astype(np.float32)


def add_reverb(samples: Array, random: np.random.Generator) -> Array:
    """Return a recording, (N,), with a random reverberation of 50 to 300 ms."""
    length = int(random.integers(SAMPLE_RATE // 20, 3 * SAMPLE_RATE // 10))
    echo = random.standard_normal(length) * np.exp(-6 * np.arange(length) / length)
    echo[0] = random.uniform(1.5, 6) * np.abs(echo).max()
    echo /= np.sqrt((echo**2).sum())
    return fftconvolve(samples, echo)[: len(samples)].astype(np.float32)


def change_speed(samples: Array, speed: float) -> Array:
    """Return a recording played `speed` times as fast, and as high: (N,) to about (N / speed,)."""
    if speed == 1:
        return samples
    ratio = Fraction(1 / speed).limit_denominator(40)
    return resample_poly(samples, ratio.numerator, ratio.denominator).astype(np.float32)
