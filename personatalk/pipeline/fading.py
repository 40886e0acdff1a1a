"""Fading between the new mouth and the old one, so that nothing pops where dubbing begins or ends."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..faces.analysis import MAX_YAW
from ..utils.arrays import Array

# Degrees from which on the new mouth fades into the old one, which is all that is left at `MAX_YAW`.
FADING_YAW = 50.0

# Seconds of a fade between the new and the old mouth where frames begin or end to be passed through.
FADE_SECONDS = 0.2

# Largest change of the weight from one frame to the next, in videos of few frames a second too.
LARGEST_FADE_STEP = 0.25


def blend_weight(
    usable: npt.NDArray[np.bool_],
    shot_of: npt.NDArray[np.int64],
    yaw: Array,
    time: npt.NDArray[np.float64],
) -> Array:
    """Return the opacity of the new mouth in each frame.

    It falls as the head turns away, and near frames that are not dubbed; never across a cut.

    Args:
        usable: Flags of the frames that are dubbed, (T,).
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
