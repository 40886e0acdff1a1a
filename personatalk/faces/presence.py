"""A second look at what a tracker took for a face: is it one, and which way up?

MediaPipe's detectors are trained on upright heads. They take a hand or a pattern for a face now and then, and lay
upright landmarks on a head that is upside down, with the mouth on the eyes. The landmark network gives a presence score
with its landmarks, which drops wherever its crop holds no face, or one that is turned.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..utils.arrays import Array, Image
from .crops import face_crop
from .mesh import FaceMesh

# Least presence score, a logit. Of 168 frames of 14 real clips 98 % scored above 13, none below 9. A head in full
# profile scores 2 to 9: one that is lost there is found again only when it turns back.
MIN_PRESENCE = 9.0
# Mean distance of landmarks that agree, in distances of the eyes' outer corners. Those of a tracker and the network's
# are hardly 0.05 apart on a face that is seen from the front, and over 0.7 where one of them lies a quarter turn off.
MAX_DISAGREEMENT = 0.15


class FacePresence:
    """Scores faces by the landmark network.

    Args:
        mesh: The network.
    """

    def __init__(self, mesh: FaceMesh) -> None:
        self._mesh = mesh

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
        found, score = max((self._mesh.look(rgb, turned) for turned in crops), key=lambda seen: seen[1])
        return found if score > MIN_PRESENCE else None


def agree(face: Array, other: Array) -> bool:
    """Return whether two sets of landmarks (468 or more, 2 or 3) lie on a face in the same way."""
    eyes = np.linalg.norm(other[263, :2] - other[33, :2])
    return bool(np.linalg.norm(face[:468, :2] - other[:468, :2], axis=1).mean() < MAX_DISAGREEMENT * eyes)
