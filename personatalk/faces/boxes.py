"""Boxes around faces: left, top, right and bottom in pixels, float32 (4,)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..utils.arrays import Array

# Two faces nearer to each other than this share of the larger one's size are one face, found twice.
SAME_FACE = 0.45

Box = npt.NDArray[np.float32]


def face_box(landmarks: Array) -> Box:
    """Return the box around landmarks (478, 2 or 3)."""
    return np.concatenate([landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)]).astype(np.float32)


def box_centre(box: Box) -> Array:
    """Return the middle of a box, (2,)."""
    middle: Array = (box[:2] + box[2:]) / np.float32(2)
    return middle


def box_size(box: Box) -> float:
    """Return the longer side of a box in pixels, at least 1."""
    return max(1.0, float((box[2:] - box[:2]).max()))


def box_distance(one: Box, other: Box) -> float:
    """Return the distance between the middles of two boxes, in sizes of the larger one."""
    return float(np.linalg.norm(box_centre(one) - box_centre(other))) / max(box_size(one), box_size(other))


def same_face(one: Box, other: Box) -> bool:
    """Return whether two boxes of one frame lie on the same face."""
    return box_distance(one, other) < SAME_FACE
