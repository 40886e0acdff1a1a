"""Loudness: speech is brought to one level before the networks hear it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..utils.arrays import Array
from .rates import STRIDE

# Root mean square to which the loud parts of speech are brought.
LEVEL = 0.1
# Largest gain as a factor, so that a faint hum is not taken for speech.
MOST_GAIN = 30.0
# A block counts as loud if its power is more than this share of the power of the loud blocks.
LOUD_SHARE = 0.01
# Blocks of `STRIDE` samples that are read at once, a minute.
BLOCKS = 3000


class AudioSource(Protocol):
    """Samples (N,) in memory (an array) or on the disk (`media.audio.SampleFile`)."""

    def __len__(self) -> int: ...

    def __getitem__(self, span: slice, /) -> Array: ...


@dataclass(frozen=True)
class ScaledAudio:
    """Audio times a factor, computed where it is read.

    Attributes:
        source: The samples.
        gain: The factor.
    """

    source: AudioSource
    gain: float

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, span: slice, /) -> Array:
        return (self.gain * self.source[span]).astype(np.float32)


def match_loudness(source: AudioSource, level: float = LEVEL) -> ScaledAudio:
    """Do the same as `normalise_loudness` without reading all samples at once."""
    return ScaledAudio(source, _gain(source, level))


def normalise_loudness(samples: Array, level: float = LEVEL) -> Array:
    """Bring speech to a common loudness. Pauses do not count.

    Args:
        samples: 16 kHz mono, (N,), -1..1.
        level: Wanted root mean square of the loud parts.

    Returns:
        The samples times one factor, (N,); silence stays silence.
    """
    return match_loudness(samples, level)[:]


def _gain(source: AudioSource, level: float) -> float:
    """Return the factor that brings the loud parts to a level."""
    count = len(source) // STRIDE
    power = np.zeros(count)
    for first in range(0, count, BLOCKS):
        last = min(first + BLOCKS, count)
        frames = source[first * STRIDE : last * STRIDE].reshape(last - first, STRIDE)
        power[first:last] = np.einsum("ij,ij->i", frames, frames) / STRIDE
    loud = power[power > LOUD_SHARE * np.percentile(power, 95)] if count else power
    if len(loud) == 0 or loud.mean() < 1e-9:
        return 1.0
    return min(level / float(np.sqrt(loud.mean())), MOST_GAIN)
