"""personatalk.audio.loudness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .encoder import STRIDE


class AudioSource(Protocol):
    """Samples, (N,), in memory (an array) or on the disk (`media.SampleFile`)."""

    def __len__(self) -> int: ...

    def __getitem__(self, span: slice, /) -> npt.NDArray[np.float32]: ...


@dataclass(frozen=True)
class ScaledAudio:
    """A sound times a factor."""

    sound: AudioSource
    gain: float

    def __len__(self) -> int:
        return len(self.sound)

    def __getitem__(self, span: slice, /) -> npt.NDArray[np.float32]:
        return (self.gain * self.sound[span]).astype(np.float32)


def match_loudness(sound: AudioSource, level: float = 0.1) -> ScaledAudio:
    """`normalise_loudness` of a sound that is read piece by piece."""
    return ScaledAudio(sound, _gain(sound, level))


def normalise_loudness(samples: npt.NDArray[np.float32], level: float = 0.1) -> npt.NDArray[np.float32]:
    """Bring speech to a common loudness, pauses left out of account.

    Args:
        samples: 16 kHz mono, (N,), -1..1.
        level: Wanted root mean square of the loud parts.

    Returns:
        (N,); silence stays silence.
    """
    return match_loudness(samples, level)[:]


def _gain(sound: AudioSource, level: float) -> float:
    count, block = len(sound) // STRIDE, 3000
    power = np.zeros(count)
    for first in range(0, count, block):
        last = min(first + block, count)
        frames = sound[first * STRIDE : last * STRIDE].reshape(last - first, STRIDE)
        power[first:last] = np.einsum("ij,ij->i", frames, frames) / STRIDE
    loud = power[power > 0.01 * np.percentile(power, 95)] if count else power
    if len(loud) == 0 or loud.mean() < 1e-9:
        return 1.0
    # At most 30 dB of gain, so that a faint hum is not taken for speech.
    return min(level / float(np.sqrt(loud.mean())), 30.0)
