"""personatalk.pipeline.fading."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..faces.analysis import MAX_YAW
from ..utils.arrays import Array

FADING_YAW = 50.0
"""Degrees from which on the new mouth fades into the old one, which is all that is left at `MAX_YAW`."""

FADE_SECONDS = 0.2
"""How long a fade between new and old mouth takes where frames begin or end to be passed through."""

LARGEST_FADE_STEP = 0.25
"""Most by which the new mouth's strength changes from one frame to the next, in videos of few frames a second too."""


def blend_weight(
    usable: npt.NDArray[np.bool_],
    shot_of: npt.NDArray[np.int64],
    yaw: Array,
    time: npt.NDArray[np.float64],
) -> Array:
    """How much of the new mouth each frame shows, so that nothing pops where frames begin or end to be passed through.

    It falls as the head turns away, and near frames that are not dubbed; never across a cut.

    Args:
        usable: Whether the frame is dubbed, (T,).
        shot_of: Number of its shot, (T,).
        yaw: Degrees by which the head is turned away, (T,).
        time: Seconds, rising, (T,).

    Returns:
        0 (the source's mouth) .. 1 (the new one), (T,). Neighbours of one shot differ by no more than
        `LARGEST_FADE_STEP`, nor faster than 1 in `FADE_SECONDS`.
    """
    turned = np.clip((yaw - FADING_YAW) / (MAX_YAW - FADING_YAW), 0, 1)
    result = np.where(usable, 1 - turned * turned * (3 - 2 * turned), 0.0)
    steps = np.minimum(np.diff(time) / FADE_SECONDS, LARGEST_FADE_STEP)
    steps[np.diff(shot_of) != 0] = np.inf
    for i, step in enumerate(steps):
        result[i + 1] = min(result[i + 1], result[i] + step)
    for i in range(len(steps) - 1, -1, -1):
        result[i] = min(result[i], result[i + 1] + steps[i])
    return result.astype(np.float32)
