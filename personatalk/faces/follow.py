"""personatalk.faces.follow."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..utils.arrays import Array


def main_face(faces: list[Array], previous: Array | None) -> Array | None:
    """Choose the face to follow: the one nearest to the previous frame's, else the largest.

    A face further than its own width from where the last one was is somebody else's: None.

    Args:
        faces: Faces of one frame, each (478, 3).
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


class FaceFollower(Protocol):
    """Picks the face of one person among those of consecutive frames. One follower serves one pass over a video."""

    def follow(self, faces: list[Array], cut: bool) -> Array | None:
        """Take the faces of the next frame, each (478, 3), and whether a shot begins there; return the person's."""
        ...


class Follower:
    """Follows one face through the frames of a shot.

    Args:
        patience: Frames after which a lost face is given up and the next one found is followed.
    """

    def __init__(self, patience: int = 25) -> None:
        self.patience = patience
        self._face: Array | None = None
        self._missing = 0

    def follow(self, faces: list[Array], cut: bool) -> Array | None:
        """Take the faces of the next frame, and whether a shot begins there; return the followed one."""
        if cut or self._missing > self.patience:
            self._face = None
        chosen = main_face(faces, self._face)
        self._missing = self._missing + 1 if chosen is None else 0
        self._face = self._face if chosen is None else chosen
        return chosen
