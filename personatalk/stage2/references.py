"""Reference selection (paper, Algorithm 1), as pure functions on frame numbers from 0."""

from __future__ import annotations

import numpy as np

from ..utils.arrays import Array, IntArray

# N_f in training and inference [paper].
FACE_REFERENCES = 5
# N_l in training [paper].
LIP_REFERENCES_TRAINING = 5
# N_l in inference [paper]; more than in training is intended.
LIP_REFERENCES = 25


def training_face_references(frame: int, length: int, count: int = FACE_REFERENCES) -> IntArray:
    """Choose frames at even steps over the window of 2 * `count` frames on either side of a frame.

    The frame itself may be among them. A trainer takes targets that are not: their texture would be copied.

    Args:
        frame: Number of the frame.
        length: Frames of the clip, to which the window is clamped.
        count: Number of references.
    """
    _check(frame, length)
    low, high = max(0, frame - 2 * count), min(length - 1, frame + 2 * count)
    return np.linspace(low, high, count).round().astype(np.int64)


def training_lip_references(length: int, random: np.random.Generator, count: int = LIP_REFERENCES_TRAINING) -> IntArray:
    """Choose random frames of the whole video, different ones as long as there are enough.

    Args:
        length: Frames of the video.
        random: Source of the choice.
        count: Number of references.
    """
    return random.choice(length, count, replace=length < count).astype(np.int64)


def face_references(frame: int, length: int, count: int = FACE_REFERENCES) -> IntArray:
    """Choose consecutive frames centred on a frame; those beyond the ends of the clip are left out.

    Args:
        frame: Number of the frame.
        length: Frames of the clip.
        count: Number of references, odd.
    """
    _check(frame, length)
    low, high = max(0, frame - count // 2), min(length - 1, frame + count // 2)
    return np.arange(low, high + 1)


def lip_references(opening: Array, count: int = LIP_REFERENCES) -> IntArray:
    """Choose frames of a video at even steps through their order by mouth opening.

    Args:
        opening: Mouth opening of the canonical geometry {alpha, beta_t, 0} of each frame, (T,).
        count: Number of references.

    Returns:
        Frame numbers from the most closed mouth to the widest open, min(T, count) different ones.

    Raises:
        ValueError: There is no frame.
    """
    if len(opening) == 0:
        raise ValueError("there is no frame to take lip references from")
    order = np.argsort(opening, kind="stable")
    places = np.linspace(0, len(opening) - 1, min(count, len(opening))).round().astype(np.int64)
    return order[places].astype(np.int64)


def _check(frame: int, length: int) -> None:
    if not 0 <= frame < length:
        raise ValueError(f"frame {frame} is not in a clip of {length} frames")
