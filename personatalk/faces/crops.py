"""Square crops of an image that move, scale and turn with a face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..utils.arrays import Array, Image
from .boxes import Box, box_centre, box_size, face_box

# Side of the crop of a face in sizes of the face, as MediaPipe cuts it.
CROP_FACES = 1.5


@dataclass(frozen=True)
class Crop:
    """A square part of an image.

    Attributes:
        centre: Its middle in pixels of the image, (2,).
        side: Its side in pixels of the image.
        angle: Clockwise angle in radians of what is upright in the crop.
    """

    centre: Array
    side: float
    angle: float = 0.0

    def transform(self, size: int) -> Array:
        """Return the transform from the image to the crop of `size` x `size` pixels, (2, 3)."""
        zoom = size / self.side
        cos, sin = zoom * np.cos(self.angle), zoom * np.sin(self.angle)
        linear = np.array([[cos, sin], [-sin, cos]])
        return np.concatenate([linear, (size / 2 - linear @ self.centre)[:, None]], axis=1).astype(np.float32)

    def cut(self, rgb: Image, size: int, border: int = cv2.BORDER_REPLICATE) -> Image:
        """Cut the crop out of an image (H, W, 3), uint8 (size, size, 3).

        Args:
            rgb: The image.
            size: Side of the crop in its own pixels.
            border: OpenCV's name of what lies beyond the image's edges.
        """
        cut = cv2.warpAffine(rgb, self.transform(size), (size, size), flags=cv2.INTER_LINEAR, borderMode=border)
        return cut.astype(np.uint8, copy=False)

    def back(self, points: Array, size: int) -> Array:
        """Return where points (N, 2 or 3) of the crop of `size` x `size` pixels lie in the image; depths are scaled."""
        zoom = self.side / size
        cos, sin = zoom * np.cos(self.angle), zoom * np.sin(self.angle)
        back = (zoom * points).astype(np.float32)
        back[:, :2] = (points[:, :2] - size / 2) @ np.array([[cos, sin], [-sin, cos]], np.float32) + self.centre
        return back


def roll(face: Array) -> float:
    """Return the clockwise angle of a face (478, 2 or 3) in the image, in radians; 0 where it is upright."""
    x, y = face[263, :2] - face[33, :2]
    return float(np.arctan2(y, x))


def box_crop(box: Box, angle: float = 0.0) -> Crop:
    """Return the crop that the landmark network wants of a face in a box, whose head is turned by an angle."""
    return Crop(box_centre(box), CROP_FACES * box_size(box), angle)


def face_crop(face: Array) -> Crop:
    """Return the crop that the landmark network wants of a face (478, 2 or 3)."""
    return box_crop(face_box(face), roll(face))
