"""MediaPipe's face detectors: BlazeFace for short and full range (Bazarevsky et al. 2019), under Apache-2.0.

The networks tell for each anchor, a point of a grid over the image, how likely a face is there, its box and six points
of it. Boxes of one face are averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..utils.arrays import Array, Image
from ..utils.onnx import open_packaged
from .boxes import Box
from .crops import Crop

# Share of two boxes' union that they must have in common to be of one face.
SAME_BOX = 0.3


@dataclass(frozen=True)
class Detection:
    """A face that a detector found.

    Attributes:
        box: Its box in pixels.
        angle: Clockwise angle of the line from the right eye, on the image's left, to the left one, in radians.
    """

    box: Box
    angle: float


@dataclass(frozen=True)
class _Grid:
    """Anchors at the middles of square cells.

    Attributes:
        cells: Cells along each side of the image.
        anchors: Anchors at each.
    """

    cells: int
    anchors: int


class FaceDetector:
    """Finds the faces of an image.

    Args:
        network: Name of the network among the package's weights.
        grids: Anchors of the network, in the order of its outputs.
        min_confidence: Detection threshold, 0..1.
    """

    def __init__(self, network: str, grids: tuple[_Grid, ...], min_confidence: float) -> None:
        self._session = open_packaged(network)
        self._size = int(self._session.get_inputs()[0].shape[1])
        self._anchors = np.concatenate([_anchors(grid) for grid in grids])
        self._min_score = float(np.log(min_confidence / (1 - min_confidence)))

    @classmethod
    def short_range(cls, min_confidence: float = 0.4) -> FaceDetector:
        """Open the detector of faces that take at least a tenth or so of the image."""
        return cls("face_detector_short.onnx", (_Grid(16, 2), _Grid(8, 6)), min_confidence)

    @classmethod
    def full_range(cls, min_confidence: float = 0.6) -> FaceDetector:
        """Open the detector of faces from some 8 % of the image."""
        return cls("face_detector_full.onnx", (_Grid(48, 1),), min_confidence)

    def detect(self, rgb: Image) -> list[Detection]:
        """Return the upright faces of an image, uint8 (H, W, 3), the surest first."""
        height, width = rgb.shape[:2]
        whole = Crop(np.array([width / 2, height / 2], np.float32), max(width, height))
        image = whole.cut(np.ascontiguousarray(rgb), self._size, cv2.BORDER_CONSTANT)
        boxes, scores = self._session.run(["boxes", "scores"], {"image": image[None]})
        sure = scores[:, 0] > self._min_score
        near = self._size * self._anchors[sure]
        points = boxes[sure].reshape(-1, 8, 2)
        points[:, 1] /= 2  # middle, size and six points: half the size is added to the middle and taken from it
        points[:, 2:] += near[:, None]
        points[:, 0] += near
        points[:, 0], points[:, 1] = points[:, 0] - points[:, 1], points[:, 0] + points[:, 1]
        merged = merge_boxes(points.reshape(-1, 16), 1 / (1 + np.exp(-scores[sure, 0])))
        return [_detection(whole.back(found.reshape(8, 2), self._size)) for found in merged]


def merge_boxes(boxes: Array, scores: Array) -> list[Array]:
    """Average the boxes of each face, weighted by their scores, the surest face first.

    Args:
        boxes: Left, top, right, bottom and whatever else is averaged along, (N, 4 or more).
        scores: Certainty of each, (N,).

    Returns:
        One row for each face.
    """
    merged = []
    order = np.argsort(-scores, kind="stable")
    while len(order):
        same = overlaps(boxes[order[0]], boxes[order]) > SAME_BOX
        same[0] = True
        one, order = order[same], order[~same]
        merged.append(np.average(boxes[one], axis=0, weights=scores[one]).astype(np.float32))
    return merged


def overlaps(box: Array, others: Array) -> Array:
    """Return what a box shares with others (N, 4 or more) of their union, (N,)."""
    common = np.minimum(box[2:4], others[:, 2:4]) - np.maximum(box[:2], others[:, :2])
    shared = np.clip(common, 0, None).prod(axis=1)
    union = (box[2:4] - box[:2]).prod() + (others[:, 2:4] - others[:, :2]).prod(axis=1) - shared
    share: Array = shared / np.maximum(union, 1e-9)
    return share


def _anchors(grid: _Grid) -> Array:
    """Return the anchors of a grid in shares of the image, row by row, (N, 2)."""
    middles = (np.arange(grid.cells, dtype=np.float32) + 0.5) / grid.cells
    y, x = np.meshgrid(middles, middles, indexing="ij")
    return np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), grid.anchors, axis=0)


def _detection(points: Array) -> Detection:
    """Make a detection of the corners of a box and the points in it, (8, 2)."""
    x, y = points[3] - points[2]
    return Detection(points[:2].reshape(4).astype(np.float32), float(np.arctan2(y, x)))
