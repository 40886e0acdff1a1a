"""Light on the face: how bright and of what colour each frame of a shot shows the same skin.

Video is stored in a space in which a change of light or exposure multiplies the values: a gain for each channel.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..utils.arrays import Array, BoolArray
from .occlusion import MIN_TRUST, ProbePoints

# Quantile of a shot's frames that counts as its usual light: the well-lit frames tell most.
USUAL_LIGHT = 0.75
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
    skin = np.array([_skin(sample, ~points.lips) for sample in samples]) + NEAR_BLACK
    change = np.log(skin / np.quantile(skin, USUAL_LIGHT, axis=0))
    low, high = ORDINARY_CHANGE
    strongest = np.abs(change).max(axis=1, keepdims=True)
    gain = np.exp(change * np.clip((strongest - low) / (high - low), 0, 1))
    return np.clip(gain, *GAIN_RANGE).astype(np.float32)


def well_lit(light: Array) -> BoolArray:
    """Return whether frames of these gains (T, 3) show the face neither too dark nor too bright, (T,)."""
    return np.asarray(((light > WELL_LIT[0]) & (light < WELL_LIT[1])).all(axis=1))


def _skin(sample: npt.NDArray[np.uint8], where: BoolArray) -> npt.NDArray[np.float64]:
    """Return the median colour of the points that are trusted, (3,)."""
    trusted = where & (sample[:, 3] > MIN_TRUST)
    return np.asarray(np.median(sample[trusted if trusted.any() else where, :3], axis=0))
