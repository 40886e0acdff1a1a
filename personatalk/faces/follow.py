"""Following one face through the frames of a video, among the faces that a tracker finds."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..utils.arrays import Array
from .boxes import box_distance, face_box

# Frames after which a lost face is given up, and the largest one that is found is followed instead.
PATIENCE = 25
# Sizes of the face by which it may be off its known box.
BOX_TOLERANCE = 0.25


class FaceFollower(Protocol):
    """Picks the face of one person among those of consecutive frames. One follower serves one pass over a video."""

    def follow(self, faces: list[Array], cut: bool) -> Array | None:
        """Return the person's face in the next frame, or None where it is not seen.

        Args:
            faces: Landmarks of the frame's faces, each (478, 3) in pixels.
            cut: Whether a shot begins at this frame.
        """
        ...


class LargestFaceFollower:
    """Follows one face through each shot: the largest of the first frame that shows any.

    Args:
        patience: Frames after which a lost face is given up.
    """

    def __init__(self, patience: int = PATIENCE) -> None:
        self.patience = patience
        self._face: Array | None = None
        self._missing = 0

    def follow(self, faces: list[Array], cut: bool) -> Array | None:
        """See `FaceFollower.follow`."""
        if cut or self._missing > self.patience:
            self._face = None
        chosen = main_face(faces, self._face)
        self._missing = self._missing + 1 if chosen is None else 0
        self._face = self._face if chosen is None else chosen
        return chosen


class BoxFollower:
    """Follows a person whose box in each frame is known.

    Args:
        boxes: Box of the person's face in each frame of the video, (T, 4); NaN where the person is not seen.
    """

    def __init__(self, boxes: Array) -> None:
        self._boxes = boxes
        self._frame = -1

    def follow(self, faces: list[Array], cut: bool) -> Array | None:
        """See `FaceFollower.follow`."""
        self._frame += 1
        if self._frame >= len(self._boxes) or np.isnan(self._boxes[self._frame, 0]):
            return None
        box = self._boxes[self._frame]
        nearest = min(faces, key=lambda face: box_distance(face_box(face), box), default=None)
        if nearest is None or box_distance(face_box(nearest), box) > BOX_TOLERANCE:
            return None
        return nearest


def main_face(faces: list[Array], previous: Array | None) -> Array | None:
    """Choose the face to follow: the one nearest to the previous frame's, or the largest where there is none.

    A face further than its own width from where the last one was is somebody else's: None.

    Args:
        faces: Landmarks of the frame's faces, each (478, 3) in pixels.
        previous: The face followed so far in this shot, or None at its beginning.
    """
    if not faces:
        return None
    if previous is None:
        return max(faces, key=lambda face: float(np.prod(np.ptp(face[:, :2], axis=0))))
    centre = previous[:, :2].mean(axis=0)
    nearest = min(faces, key=lambda face: float(np.linalg.norm(face[:, :2].mean(axis=0) - centre)))
    reach = max(float(np.ptp(face[:, 0])) for face in (previous, nearest))
    return nearest if np.linalg.norm(nearest[:, :2].mean(axis=0) - centre) < reach else None
