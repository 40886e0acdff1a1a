"""Obedience: does a rendered mouth open as far as it is asked, and is it as wide?

A landmark network reads opening and width in the rendered image and in the real one, both of the same geometry, so that
what it gets wrong itself hardly counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..faces.crops import face_crop
from ..faces.mesh import FaceMesh
from ..utils.arrays import Array, Image

# Landmarks: middles of the inner lips, corners of the mouth, outer corners of the eyes.
INNER_LIPS, MOUTH_CORNERS, EYE_CORNERS = (13, 14), (78, 308), (33, 263)
# Pixels of replicated border around a face crop, in which a face ends at the edge, as shares of its side.
BORDER = 0.25


@dataclass(frozen=True)
class Obedience:
    """How what is seen depends on what was asked, by a straight line.

    Attributes:
        slope: 1 where the mouth opens as far as it is asked, less where it is damped.
        correlation: Pearson's.
        error: Mean absolute difference, in eye distances.
        count: Number of pairs.
    """

    slope: float
    correlation: float
    error: float
    count: int

    @classmethod
    def of(cls, asked: Sequence[float], seen: Sequence[float]) -> Obedience:
        """Fit the line; NaN where there are fewer than three pairs."""
        x, y = np.array(asked, np.float64), np.array(seen, np.float64)
        if len(x) < 3 or min(x.std(), y.std()) < 1e-9:
            return cls(np.nan, np.nan, np.nan, len(x))
        slope = float(np.polyfit(x, y, 1)[0])
        return cls(slope, float(np.corrcoef(x, y)[0, 1]), float(np.abs(x - y).mean()), len(x))


class MouthReader:
    """Reads mouths in face crops whose geometry is known, so that no face has to be found."""

    def __init__(self) -> None:
        self._mesh = FaceMesh()

    def read(self, crop: Image, vertices: Array) -> tuple[float, float]:
        """Return opening and width of the mouth in eye distances.

        Args:
            crop: Face crop, uint8 (S, S, 3).
            vertices: About where the face's landmarks are, in crop pixels, (468 or more, 3).
        """
        margin = round(BORDER * len(crop))
        wide = np.pad(crop, ((margin, margin), (margin, margin), (0, 0)), "edge")
        seen, _ = self._mesh.look(wide, face_crop(vertices + np.array([margin, margin, 0], np.float32)))
        eyes, lips, corners = (
            float(np.linalg.norm(seen[a, :2] - seen[b, :2])) for a, b in (EYE_CORNERS, INNER_LIPS, MOUTH_CORNERS)
        )
        return lips / eyes, corners / eyes
