"""Face recognition embeddings: vectors that are near for images of one person and far for images of two.

`AppearanceRecogniser` needs nothing but this package: gradients and colours of the aligned face, and the morphable
model's shape. It tells the people of one video apart. `ArcFaceRecogniser` needs an ArcFace network that the user has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ..errors import WeightsError
from ..geometry.fitting import Initialiser
from ..geometry.morphable_model import MorphableModel
from ..utils.arrays import Array, Image
from ..utils.onnx import open_onnx, trial_run

# Eyes, nose and corners of the mouth in ArcFace's 112 x 112 crop (Deng et al. 2019).
ARCFACE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
# MediaPipe landmarks at these points.
ARCFACE_LANDMARKS = (468, 473, 4, 61, 291)


class Recogniser(Protocol):
    """Embeds faces as vectors whose Euclidean distance tells people apart.

    Attributes:
        threshold: Distance beyond which two embeddings, each a mean of several, are of two people.
    """

    threshold: float

    def embed(self, image: Image, landmarks: Array) -> Array:
        """Return the embedding (D,) of the face with landmarks (478, 3) in pixels of an image, uint8 (H, W, 3)."""
        ...


class AppearanceRecogniser:
    """Embeds the appearance of a face without a network: (399,) = gradients (324), colours (27) and shape (48).

    Gradients are a histogram of oriented gradients (Dalal and Triggs 2005) of the aligned grey face; colours are CIELAB
    means of cheeks, forehead, chin, lips and the hair around; shape is the direction of the morphable model's alpha.
    Each part is scaled to weigh about the same between strangers. It expects the light of one video: another image
    of the same person may look like a stranger's.

    Args:
        model: The morphable model; with another than the package's the shape has as many numbers as its identity basis.
    """

    # Side of the aligned crop in pixels.
    SIDE = 128
    # Middle of the eyes and of the mouth in the crop.
    ANCHORS = np.array([[46, 56], [82, 56], [64, 96]], np.float32)
    # Landmarks of cheeks, forehead, chin and lips.
    PATCHES = ((205, 50, 36, 187), (425, 280, 266, 411), (10, 151, 108, 337), (152, 175, 199), (0, 17, 40, 270))
    # Standard deviation of the colours between people, in units of OpenCV's 8-bit CIELAB.
    LAB_SPREAD = np.array([30, 9, 9], np.float32)
    # Standard deviation of the square roots of the gradients' histogram between people.
    HOG_SPREAD = 0.14
    # Between the 95 % of one video's own distances (1.0) and the lowest 1 % of strangers' (1.15).
    threshold = 1.05

    def __init__(self, model: MorphableModel) -> None:
        self._initialise = Initialiser(model)
        self._hog = cv2.HOGDescriptor((64, 64), (32, 32), (16, 16), (16, 16), 9)

    def embed(self, image: Image, landmarks: Array) -> Array:
        """See `Recogniser.embed`."""
        points = landmarks[:, :2].astype(np.float32)
        middles = np.stack([points[list(group)].mean(axis=0) for group in ((33, 133), (362, 263), (61, 291))])
        matrix, _ = cv2.estimateAffinePartial2D(middles, self.ANCHORS, method=cv2.LMEDS)
        if matrix is None:  # all landmarks in one place
            matrix = np.eye(2, 3)
        crop = cv2.warpAffine(image, matrix, (self.SIDE, self.SIDE), borderMode=cv2.BORDER_REPLICATE)
        inside = points @ matrix[:, :2].T.astype(np.float32) + matrix[:, 2].astype(np.float32)
        alpha = self._initialise(landmarks).alpha
        shape = alpha / max(1e-6, float(np.linalg.norm(alpha))) / np.sqrt(2)
        return np.concatenate([self._gradients(crop), self._colours(crop, inside), shape]).astype(np.float32)

    def _gradients(self, crop: Image) -> Array:
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[24:112, 20:108]
        small = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA)
        found = np.sqrt(np.asarray(self._hog.compute(small), np.float32).ravel())
        scaled: Array = found / (self.HOG_SPREAD * np.sqrt(found.size))
        return scaled

    def _colours(self, crop: Image, points: Array) -> Array:
        lab = cv2.cvtColor(cv2.GaussianBlur(crop, (0, 0), 2), cv2.COLOR_RGB2LAB).astype(np.float32)
        top, chin, nose, sides = points[10], points[152], points[1], points[[127, 356]]
        hair = np.concatenate([top + (top - chin) * np.array([[0.06], [0.14]]), sides + (sides - nose) * 0.12])
        places = np.concatenate([*(points[list(group)] for group in self.PATCHES), hair])
        x, y = np.clip(np.rint(places), 0, self.SIDE - 1).astype(int).T
        seen = lab[y, x] / self.LAB_SPREAD
        ends = np.cumsum([len(group) for group in self.PATCHES])
        means = [part.mean(axis=0) for part in np.split(seen, ends)[:-1]]
        every = np.concatenate([*means, *seen[ends[-1] :]])
        scaled: Array = every / np.sqrt(every.size)
        return scaled


class ArcFaceRecogniser:
    """An ArcFace network in ONNX, 112 x 112 RGB: insightface's recognition models, or ports of them.

    insightface's own exports from PyTorch want (x - 127.5) / 127.5; those that came from MXNet, whose input is called
    `data`, scale inside.

    Args:
        path: The network.

    Raises:
        WeightsError: It cannot be read, or is none.
    """

    # Distance of unit vectors: a cosine of 0.5.
    threshold = 1.0

    def __init__(self, path: Path | str) -> None:
        self.session = open_onnx(path, inputs=1)
        (entry,) = self.session.get_inputs()
        if list(entry.shape[1:]) != [3, 112, 112]:
            raise WeightsError(f"{path}: wants {entry.shape}, not (N, 3, 112, 112): not an ArcFace network")
        self.name, self.inside = entry.name, entry.name == "data"
        trial_run(path, lambda: self.session.run(None, {self.name: np.zeros((1, 3, 112, 112), np.float32)}))

    def embed(self, image: Image, landmarks: Array) -> Array:
        """Return the unit embedding (D,) of the face with landmarks (478, 2 or 3) in pixels."""
        matrix, _ = cv2.estimateAffinePartial2D(
            landmarks[list(ARCFACE_LANDMARKS), :2].astype(np.float32), ARCFACE_POINTS, method=cv2.LMEDS
        )
        crop = cv2.warpAffine(image, matrix, (112, 112)).transpose(2, 0, 1)[None].astype(np.float32)
        vector = self.session.run(None, {self.name: crop if self.inside else (crop - 127.5) / 127.5})[0].ravel()
        unit: Array = vector / max(1e-12, np.linalg.norm(vector))
        return unit


def open_recogniser(model: MorphableModel, identity: Path | str | None = None) -> Recogniser:
    """Open ArcFace where the path of such a network is given, else the recogniser by appearance in one video.

    Raises:
        WeightsError: The network cannot be read.
    """
    return AppearanceRecogniser(model) if identity is None else ArcFaceRecogniser(identity)
