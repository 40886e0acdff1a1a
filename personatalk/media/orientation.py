"""The orientation of stored images: how players turn and mirror them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways in which a stored image is shown.

    Attributes:
        rotation: Degrees clockwise by which the image is turned: 0, 90, 180 or 270.
        mirrored: Whether left and right of the stored image are exchanged before it is turned.
    """

    rotation: int = 0
    mirrored: bool = False

    @classmethod
    def of_matrix(cls, matrix: tuple[int, ...]) -> Orientation:
        """Return the orientation of a display matrix.

        Args:
            matrix: Nine numbers, row by row; the first two of the first two rows in 16.16 fixed point. A stored point
                (x, y) is shown at (a x + c y, b x + d y).
        """
        a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
        mirrored = a * d - b * c < 0
        if mirrored:
            a, b = -a, -b
        angle = math.degrees(math.atan2(b, a)) if (a or b) else 0.0
        return cls(round(angle / 90) * 90 % 360, mirrored)

    @property
    def swaps_sides(self) -> bool:
        """Return whether width and height are exchanged."""
        return self.rotation % 180 != 0

    def shown(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return stored pixels (H, W, ...) as they are shown; a view."""
        return np.rot90(stored[:, ::-1] if self.mirrored else stored, -(self.rotation // 90))

    def stored(self, shown: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return shown pixels (H, W, ...) as they are stored; a view."""
        turned = np.rot90(shown, self.rotation // 90)
        return turned[:, ::-1] if self.mirrored else turned

    def stored_place(self, left: int, top: int, columns: int, rows: int, width: int, height: int) -> tuple[int, int]:
        """Return the left and top of a rectangle in the stored image.

        Args:
            left: Of the rectangle as shown.
            top: Of the rectangle as shown.
            columns: Its width as shown.
            rows: Its height as shown.
            width: Of the stored image.
            height: Of the stored image.
        """
        x, y = {
            0: (left, top),
            90: (top, height - left - columns),
            180: (width - left - columns, height - top - rows),
            270: (width - top - rows, left),
        }[self.rotation]
        stored_columns = rows if self.swaps_sides else columns
        return (width - x - stored_columns if self.mirrored else x), y


# Neither turned nor mirrored.
AS_STORED = Orientation()
