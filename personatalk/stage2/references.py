"""Reference selection (paper, Algorithm 1), as pure functions on frame numbers from 0."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..utils.arrays import IntArray

FACE_REFERENCES = 5
"""N_f in training and inference [paper]."""
LIP_REFERENCES_TRAINING = 5
"""N_l in training [paper]."""
LIP_REFERENCES = 25
"""N_l in inference [paper]; more than in training is intended."""


def training_face_references(frame: int, length: int, count: int = FACE_REFERENCES) -> IntArray:
    """Frames at even steps over the window of 2 * `count` frames on either side of `frame`, clamped to the clip.

    The frame itself may be among them; a trainer takes targets that are not (their texture would be copied).
    """
    _check(frame, length)
    low, high = max(0, frame - 2 * count), min(length - 1, frame + 2 * count)
    return np.linspace(low, high, count).round().astype(np.int64)


def training_lip_references(length: int, random: np.random.Generator, count: int = LIP_REFERENCES_TRAINING) -> IntArray:
    """Random frames of the whole video, different ones as long as there are enough."""
    return random.choice(length, count, replace=length < count).astype(np.int64)


def face_references(frame: int, length: int, count: int = FACE_REFERENCES) -> IntArray:
    """The `count` (an odd number) consecutive frames centred on `frame`; those beyond the clip's ends are left out."""
    _check(frame, length)
    low, high = max(0, frame - count // 2), min(length - 1, frame + count // 2)
    return np.arange(low, high + 1)


def lip_references(opening: npt.NDArray[np.float32], count: int = LIP_REFERENCES) -> IntArray:
    """Frames of a video at even steps through its order by mouth opening.

    Args:
        opening: Mouth opening of the canonical geometry {alpha, beta_t, 0} of each frame, (T,).
        count: Number of references.

    Returns:
        Frame numbers from the most closed mouth to the widest open; min(T, count) different ones.
    """
    if len(opening) == 0:
        raise ValueError("there is no frame to take lip references from")
    order = np.argsort(opening, kind="stable")
    places = np.linspace(0, len(opening) - 1, min(count, len(opening))).round().astype(np.int64)
    return order[places].astype(np.int64)


def _check(frame: int, length: int) -> None:
    if not 0 <= frame < length:
        raise ValueError(f"frame {frame} is not in a clip of {length} frames")
