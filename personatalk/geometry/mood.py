"""Mood: the slow expression of a face, such as a smile, without the opening of the mouth and the jaw.

What somebody says moves the mouth several times a second, what somebody feels over seconds. The slow part of a face's
expressions tells the mood, but also how much was said: the mouth stands open longer where there are many words. In
coefficients, whose spread over people and times is 1 each, the expressions that move the lips' middles apart, or the
chin up and down, span four dimensions; what is perpendicular to them leaves opening and chin exactly as they are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..utils.arrays import Array
from .morphable_model import MorphableModel

# Standard deviation in seconds of the window over which expressions are averaged. Of a motion twice a second, slow for
# syllables, nothing is left; of one in five seconds four fifths.
WINDOW = 0.5
# Standard deviations after which the window ends.
REACH = 3


def moods(
    model: MorphableModel,
    beta: Array,
    time: npt.NDArray[np.float64],
    usable: npt.NDArray[np.bool_],
    shot_of: npt.NDArray[np.int64],
) -> Array:
    """Return how the mood of each frame differs from the mean of all.

    The mean is not told: a speaker's style has it.

    Args:
        model: The morphable model.
        beta: Expression of each frame, (T, E).
        time: Seconds, ascending, (T,).
        usable: Whether the frame shows the expression, (T,).
        shot_of: Number of the shot of each frame, which are averaged by themselves, (T,).

    Returns:
        Expression coefficients that move neither the lips' middles apart nor the chin up or down, (T, E); 0 where not
        usable.
    """
    found = np.zeros_like(beta)
    for shot in np.unique(shot_of[usable]):
        frames = np.flatnonzero(usable & (shot_of == shot))
        found[frames] = _smoothed(beta[frames], time[frames])
    if usable.any():
        found[usable] -= beta[usable].mean(axis=0)
    upper, lower = model.inner_lips[0]
    chin = model.jaw[len(model.jaw) // 2]
    said = [*(model.expression[lower] - model.expression[upper]), model.expression[chin, 1]]
    spanned = np.linalg.qr(np.transpose(said))[0]
    return np.asarray(found - found @ spanned @ spanned.T, np.float32)


def _smoothed(beta: Array, time: npt.NDArray[np.float64]) -> Array:
    """Return the mean of the expressions around each frame, weighed by a Gaussian, (N, E)."""
    smoothed = np.empty_like(beta)
    begins = np.searchsorted(time, time - REACH * WINDOW)
    ends = np.searchsorted(time, time + REACH * WINDOW, side="right")
    for i, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        weights = np.exp(-0.5 * ((time[begin:end] - time[i]) / WINDOW) ** 2)
        smoothed[i] = weights @ beta[begin:end] / weights.sum()
    return smoothed
