"""Dense landmarks of the faces of consecutive frames, behind one small interface.

MediaPipe's 478-point mesh, by its own networks: a detector finds faces, the landmark network sees a crop around each,
and the next frame's crop lies around the landmarks of this one.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..utils.arrays import Array
from .crops import Crop, box_crop, face_crop
from .detector import FaceDetector, overlaps
from .mesh import FaceMesh

# Most faces looked for in one frame where nothing else is said.
MAX_FACES = 5
# Least certainty of a detector, and least presence of a face that is followed, 0..1.
MIN_CONFIDENCE = 0.4
# Least presence score: the logit of that.
MIN_SCORE = float(np.log(MIN_CONFIDENCE / (1 - MIN_CONFIDENCE)))
# Frames from one search for more faces to the next, while all that were found are followed.
SEARCH_STEP = 2
# A crop that moves by more than this share of its side may have found another face, of the next shot.
LEAP = 0.07
# Share of two crops' union that they must have in common to be of one face.
SAME_CROP = 0.5


class FaceTracker(Protocol):
    """Finds the faces of consecutive frames. One tracker serves one video, in order."""

    def detect(self, rgb: npt.NDArray[np.uint8]) -> list[Array]:
        """Return the faces of one frame.

        Args:
            rgb: Upright image, uint8 (H, W, 3).

        Returns:
            One float32 array (478, 3) per face: x to the right, y down and depth z away from the camera, all in
            pixels of the image (z relative to the head's centre, in the scale of x). Empty if there is no face.
        """
        ...

    def close(self) -> None:
        """Free what the tracker holds."""
        ...


class FaceMeshTracker:
    """Follows faces by the landmark network, as MediaPipe's face mesh does.

    More faces are searched for in every other frame, and at once where one is lost or leaps.

    Args:
        max_faces: Most faces looked for in one frame.
        mesh: The landmark network; opened where None.
    """

    def __init__(self, max_faces: int = MAX_FACES, mesh: FaceMesh | None = None) -> None:
        self._max_faces = max_faces
        self._detector, self._mesh = FaceDetector.short_range(MIN_CONFIDENCE), mesh or FaceMesh()
        self._crops: list[Crop] = []
        self._since = 0

    def detect(self, rgb: npt.NDArray[np.uint8]) -> list[Array]:
        """See `FaceTracker.detect`."""
        rgb = np.ascontiguousarray(rgb)
        faces = [face for face in (self._seen(rgb, crop) for crop in self._crops) if face is not None]
        crops = [face_crop(face) for face in faces]
        self._since += 1
        if len(crops) < self._max_faces and (self._since >= SEARCH_STEP or not _steady(self._crops, crops)):
            self._since = 0
            for one in self._detector.detect(rgb)[: self._max_faces]:
                crop = box_crop(one.box, one.angle)
                face = None if _share(crop, crops) > SAME_CROP else self._seen(rgb, crop)
                if face is not None and len(faces) < self._max_faces:
                    faces.append(face)
                    crops.append(face_crop(face))
        self._crops = [crop for i, crop in enumerate(crops) if _share(crop, crops[i + 1 :]) <= SAME_CROP]
        return faces

    def close(self) -> None:
        """See `FaceTracker.close`; the faces are forgotten."""
        self._crops = []

    def _seen(self, rgb: npt.NDArray[np.uint8], crop: Crop) -> Array | None:
        """Return the landmarks of the face in a crop, (478, 3); None where it shows none."""
        face, score = self._mesh.look(rgb, crop)
        return face if score > MIN_SCORE else None


def open_tracker(max_faces: int = MAX_FACES) -> FaceTracker:
    """Open the default tracker.

    Args:
        max_faces: Most faces looked for in one frame.
    """
    return FaceMeshTracker(max_faces)


def _steady(before: list[Crop], after: list[Crop]) -> bool:
    """Return whether there are crops, as many as before, and each is about where it was."""
    if not before or len(before) != len(after):
        return False
    pairs = zip(before, after, strict=True)
    return all(float(np.linalg.norm(one.centre - other.centre)) < LEAP * one.side for one, other in pairs)


def _share(crop: Crop, others: list[Crop]) -> float:
    """Return the largest share of their union that a crop has in common with one of others, as if none were turned."""
    squares = np.array([[*(one.centre - one.side / 2), *(one.centre + one.side / 2)] for one in (crop, *others)])
    return float(overlaps(squares[0], squares[1:]).max(initial=0.0))
