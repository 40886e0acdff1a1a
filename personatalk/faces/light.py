"""Light on the face: how bright and of what colour each frame of a shot shows the same skin.

Video is stored in a space in which a change of light or exposure multiplies the values: a gain for each channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..utils.arrays import Array, BoolArray
from .occlusion import MIN_TRUST, ProbePoints

# Quantile of a shot's frames that counts as its usual light: the well-lit frames tell most.
USUAL_LIGHT = 0.75
# Frames nearest to it that tell the usual colour of each point.
USUAL_FRAMES = 9
# Grey level from which on a sample may be clipped, and tells nothing of how bright the light is.
CLIPPED = 250
# Natural logarithms of gains: smaller ones are taken for none, since ordinary shots have them, and larger ones are
# taken in full.
ORDINARY_CHANGE = (0.1, 0.2)
# Bounds of the gains: darker frames hold nothing but noise, brighter ones are clipped.
GAIN_RANGE = (0.04, 4.0)
# Grey levels added before a ratio is taken, against the rounding of near black.
NEAR_BLACK = 1.0
# Gains between which a frame shows the face well enough to lend its texture to others.
WELL_LIT = (0.6, 1.5)


def relative_light(points: ProbePoints, samples: npt.NDArray[np.uint8]) -> Array:
    """Estimate the light of each frame of a shot.

    Args:
        points: The probe points.
        samples: From `ProbePoints.sample`, (T, P, 4).

    Returns:
        Gain of each channel over the shot's usual light, (T, 3); 1 where it is ordinary.
    """
    trusted = [~points.lips & (sample[:, 3] > MIN_TRUST) for sample in samples]
    skin = np.array([_median(s[:, :3], t, ~points.lips) for s, t in zip(samples, trusted, strict=True)]) + NEAR_BLACK
    level = np.quantile(skin, USUAL_LIGHT, axis=0)
    change = np.abs(np.log(skin / level)).max(axis=1)
    near = np.argsort(change, kind="stable")[:USUAL_FRAMES]
    usual = np.median((samples[near, :, :3] + NEAR_BLACK) * (level / skin[near])[:, None], axis=0)
    gain = np.ones((len(samples), 3))
    for frame in np.flatnonzero(change > ORDINARY_CHANGE[0]):
        ratio = (samples[frame, :, :3] + NEAR_BLACK) / usual
        seen = trusted[frame][:, None] & (samples[frame, :, :3] < CLIPPED)
        channels = [_median(r, s, trusted[frame]) for r, s in zip(ratio.T, seen.T, strict=True)]
        gain[frame] = np.power(channels, _ramp(change[frame], ORDINARY_CHANGE))
    return np.clip(gain, *GAIN_RANGE).astype(np.float32)


def well_lit(light: Array) -> BoolArray:
    """Return whether frames of these gains (T, 3) show the face neither too dark nor too bright, (T,)."""
    return np.asarray(((light > WELL_LIT[0]) & (light < WELL_LIT[1])).all(axis=1))


def _median(values: npt.NDArray[Any], chosen: BoolArray, otherwise: BoolArray) -> npt.NDArray[np.float64]:
    """Return the median over the chosen points; over others, or all, where none is."""
    where = next((w for w in (chosen, otherwise) if w.any()), slice(None))
    return np.asarray(np.median(values[where], axis=0))


def _ramp(value: float, ends: tuple[float, float]) -> float:
    return float(np.clip((value - ends[0]) / (ends[1] - ends[0]), 0, 1))
