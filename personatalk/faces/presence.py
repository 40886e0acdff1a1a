"""A second look at what a tracker took for a face: is it one, and which way up?

MediaPipe's detectors are trained on upright heads. They take a hand or a pattern for a face now and then, and lay
upright landmarks on a head that is upside down, with the mouth on the eyes. The landmark network in the same wheel
gives a presence score with its landmarks, which drops wherever its crop holds no face, or one that is turned.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..geometry.camera import apply_transform, invert_transform
from ..utils.arrays import Array, Image
from .boxes import box_centre, box_size, face_box
from .landmarks import quiet_native_stderr

# Side of the network's crop in pixels.
PRESENCE_CROP_SIDE = 192
# Side of that crop in sizes of the face, as MediaPipe cuts it.
PRESENCE_CROP_FACES = 1.5
# Least presence score, a logit. Of 168 frames of 14 real clips 98 % scored above 13, none below 9. A head in full
# profile scores 2 to 9: one that is lost there is found again only when it turns back.
MIN_PRESENCE = 9.0
# Mean distance of landmarks that agree, in distances of the eyes' outer corners. Those of a tracker and the network's
# are hardly 0.05 apart on a face that is seen from the front, and over 0.7 where one of them lies a quarter turn off.
MAX_DISAGREEMENT = 0.15
# File of the network in the wheel.
NETWORK = Path("modules", "face_landmark", "face_landmark.tflite")


class FacePresence:
    """Scores faces by MediaPipe's landmark network."""

    def __init__(self) -> None:
        with quiet_native_stderr():
            import mediapipe as mp

        self._network = cv2.dnn.readNetFromTFLite(str(Path(mp.__file__).parent / NETWORK))
        self._outputs = self._network.getUnconnectedOutLayersNames()

    def look(self, rgb: Image, face: Array) -> Array | None:
        """Find a face anew where landmarks lie, whichever way up it is.

        Args:
            rgb: Image, uint8 (H, W, 3).
            face: Landmarks (478, 3) in pixels.

        Returns:
            Landmarks (468, 2) in pixels; None where there is no face.
        """
        score, found = max((self._look(rgb, face, turns) for turns in range(4)), key=lambda seen: seen[0])
        return found if score > MIN_PRESENCE else None

    def _look(self, rgb: Image, face: Array, turns: int) -> tuple[float, Array]:
        """Return the presence score and the landmarks (468, 2) in a crop that is turned by some quarters."""
        box = face_box(face)
        window = np.array([*box_centre(box), PRESENCE_CROP_FACES * box_size(box)])
        matrix = turned_crop(window, roll(face) + turns * np.pi / 2, PRESENCE_CROP_SIDE)
        crop = cv2.warpAffine(rgb, matrix, (PRESENCE_CROP_SIDE, PRESENCE_CROP_SIDE), flags=cv2.INTER_LINEAR)
        self._network.setInput(crop.astype(np.float32).transpose(2, 0, 1)[None] / 255)
        score, points = sorted((out.ravel() for out in self._network.forward(self._outputs)), key=len)
        return float(score[0]), apply_transform(invert_transform(matrix), points.reshape(-1, 3)[:, :2])


def agree(face: Array, other: Array) -> bool:
    """Return whether two sets of landmarks (468 or more, 2 or 3) lie on a face in the same way."""
    eyes = np.linalg.norm(other[263, :2] - other[33, :2])
    return bool(np.linalg.norm(face[:468, :2] - other[:468, :2], axis=1).mean() < MAX_DISAGREEMENT * eyes)


def roll(face: Array) -> float:
    """Return the clockwise angle of a face (478, 2 or 3) in the image, in radians; 0 where it is upright."""
    x, y = face[263, :2] - face[33, :2]
    return float(np.arctan2(y, x))


def turned_crop(window: Array, angle: float, size: int) -> Array:
    """Return the transform from an image to a square crop of it in which what is turned by an angle is upright, (2, 3).

    Args:
        window: Centre and side of the crop in the image, (3,).
        angle: Clockwise, in radians.
        size: Side of the crop in its own pixels.
    """
    zoom = size / window[2]
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]])
    return np.concatenate([linear, (size / 2 - linear @ window[:2])[:, None]], axis=1).astype(np.float32)
