"""MediaPipe's landmark network with attention (Grishchenko et al. 2020, Apache-2.0): dense landmarks of a crop."""

from __future__ import annotations

from ..utils.arrays import Array, Image
from ..utils.onnx import open_packaged
from .crops import Crop


class FaceMesh:
    """Finds the landmarks of a face whose crop is known."""

    def __init__(self) -> None:
        self._session = open_packaged("face_landmarks.onnx")
        self._size = int(self._session.get_inputs()[0].shape[1])

    def look(self, rgb: Image, crop: Crop) -> tuple[Array, float]:
        """Find a face in a crop of an image.

        Args:
            rgb: Image, uint8 (H, W, 3).
            crop: The crop, in which the face is upright.

        Returns:
            Landmarks in pixels of the image, float32 (478, 3) as of `landmarks.FaceTracker`, and the presence score, a
            logit, which drops where the crop shows no face, or one that is not upright.
        """
        image = crop.cut(rgb, self._size)
        landmarks, presence = self._session.run(["landmarks", "presence"], {"image": image[None]})
        return crop.back(landmarks, self._size), float(presence[0])
