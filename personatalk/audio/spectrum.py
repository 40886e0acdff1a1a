"""Whisper's log-mel spectrum (Radford et al. 2022), with an absolute cut-off."""

from __future__ import annotations

import functools

import numpy as np

from ..utils.arrays import Array

# Samples per frame of the spectrum at 16 kHz, and of its window [Whisper].
HOP, WINDOW = 160, 400
# Bands of the spectrum [Whisper].
BANDS = 80
# Largest value that the log10 of the band energies of speech at the common loudness takes, nearly; Whisper measures it.
CEILING = 1.5
# Span of the log spectrum below the ceiling [Whisper].
SPAN = 8.0


def log_mel(samples: Array) -> Array:
    """Return the log-mel spectrum of speech at the common loudness, as Whisper scales it.

    Args:
        samples: 16 kHz, (..., N).

    Returns:
        (..., 80, N // 160), about -1 to 1.
    """
    count, half = samples.shape[-1] // HOP, WINDOW // 2
    padded = np.pad(samples.astype(np.float32), [(0, 0)] * (samples.ndim - 1) + [(half, half)], mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=-1)[..., ::HOP, :][..., :count, :]
    spectrum = np.fft.rfft(frames * _window())
    power = spectrum.real**2 + spectrum.imag**2
    bands = np.maximum(power @ mel_filters().T, np.float32(10.0 ** (CEILING - SPAN)))
    return np.ascontiguousarray(np.swapaxes((np.log10(bands) + 4) / 4, -1, -2), np.float32)


@functools.cache
def _window() -> Array:
    """Return the periodic Hann window, (400,)."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


@functools.cache
def mel_filters() -> Array:
    """Return Slaney's mel filters from 0 to 8 kHz, (80, 201): linear below 1 kHz, logarithmic above, of equal area."""
    top = 15 + 27 * np.log(8.0) / np.log(6.4)
    mels = np.linspace(0, top, BANDS + 2)
    hertz = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mels - 15)))
    rising = (np.linspace(0, 8000, WINDOW // 2 + 1) - hertz[:-2, None]) / np.diff(hertz)[:-1, None]
    falling = (hertz[2:, None] - np.linspace(0, 8000, WINDOW // 2 + 1)) / np.diff(hertz)[1:, None]
    filters = np.clip(np.minimum(rising, falling), 0, None) * (2 / (hertz[2:] - hertz[:-2]))[:, None]
    return filters.astype(np.float32)
