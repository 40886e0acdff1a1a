"""A second look at what a tracker took for a face: is it one, and which way up?

MediaPipe's detectors are trained on upright heads. They take a hand or a pattern for a face now and then, and lay
upright landmarks on a head that is upside down, with the mouth on the eyes. The landmark network gives a presence score
with its landmarks, which drops wherever its crop holds no face, or one that is turned.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from ..utils.arrays import Array, Image
from .boxes import Box, face_box, same_face
from .crops import face_crop
from .mesh import FaceMesh

# Least presence score, a logit. Of 168 frames of 14 real clips 98 % scored above 13, none below 9.
MIN_PRESENCE = 9.0
# Least score where a face was a short while ago: a head in full profile scores 2 to 9, drawn hands below 0.
MIN_PRESENCE_AGAIN = 2.0
# Frames for which it is remembered where a face was.
MAX_ABSENCE = 50
# Ratio of the channels' means from which on light is strongly coloured: there the network knows no face.
COLOURED_LIGHT = 3.0
# Colour of skin in white light, as shares of its brightest channel.
SKIN = (1.0, 0.77, 0.62)
# Mean distance of landmarks that agree, in distances of the eyes' outer corners. Those of a tracker and the network's
# are hardly 0.05 apart on a face that is seen from the front, and over 0.7 where one of them lies a quarter turn off.
MAX_DISAGREEMENT = 0.15


class FacePresence:
    """Scores faces by the landmark network, and remembers where they were.

    Args:
        mesh: The network.
    """

    def __init__(self, mesh: FaceMesh) -> None:
        self._mesh = mesh
        self._recent: list[tuple[Box, int]] = []  # where faces were, and the frames since then

    def remember(self, faces: list[Array]) -> None:
        """Note where the faces of a frame are, each (478, 2 or 3): there a lower score will do for a while."""
        boxes = [face_box(face) for face in faces]
        gone = [(box, age + 1) for box, age in self._recent if not any(same_face(box, other) for other in boxes)]
        self._recent = [(box, 0) for box in boxes] + [(box, age) for box, age in gone if age <= MAX_ABSENCE]

    def forget(self) -> None:
        """Forget where faces were, as at a cut."""
        self._recent.clear()

    def look(self, rgb: Image, face: Array) -> Array | None:
        """Find a face anew where landmarks lie, whichever way up it is.

        Args:
            rgb: Image, uint8 (H, W, 3).
            face: Landmarks (478, 3) in pixels.

        Returns:
            Landmarks (478, 3) in pixels; None where there is no face.
        """
        crop = face_crop(face)
        crops = (replace(crop, angle=crop.angle + turns * np.pi / 2) for turns in range(4))
        white = _in_white_light(rgb, face_box(face))
        found, score = max((self._mesh.look(white, turned) for turned in crops), key=lambda seen: seen[1])
        returns = any(same_face(face_box(face), box) for box, _ in self._recent)
        return found if score > (MIN_PRESENCE_AGAIN if returns else MIN_PRESENCE) else None


def _in_white_light(rgb: Image, box: Box) -> Image:
    """Return an image (H, W, 3) in the colour of skin if a box is strongly coloured, such as by stage light."""
    left, top, right, bottom = box.round().astype(int).clip(0).tolist()
    part = rgb[top:bottom, left:right]
    means = part.mean(axis=(0, 1)) if part.size else np.ones(3)
    if means.max() < COLOURED_LIGHT * means.min():
        return rgb
    brightest = rgb[..., means.argmax()]
    return cv2.merge([cv2.convertScaleAbs(brightest, alpha=share) for share in SKIN])


def agree(face: Array, other: Array) -> bool:
    """Return whether two sets of landmarks (468 or more, 2 or 3) lie on a face in the same way."""
    eyes = np.linalg.norm(other[263, :2] - other[33, :2])
    return bool(np.linalg.norm(face[:468, :2] - other[:468, :2], axis=1).mean() < MAX_DISAGREEMENT * eyes)
