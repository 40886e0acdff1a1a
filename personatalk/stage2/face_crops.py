"""personatalk.stage2.face_crops."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ..faces.analysis import Analysis
from ..geometry.camera import CROP_SIZE, apply_transform, crop_transform, project, warp
from ..geometry.morphable_model import MorphableModel
from ..media.reader import Frame, VideoReader
from ..utils.arrays import Array
from .geometry_map import geometry_map
from .renderer import Reference, Renderer


class FaceCropper:
    """The face of a video in its canonical crop.

    Args:
        model: The morphable model.
        analysis: Where the face is.
        size: Side of the crop in pixels.
    """

    def __init__(self, model: MorphableModel, analysis: Analysis, size: int = CROP_SIZE) -> None:
        self.model, self.analysis, self.size = model, analysis, size

    def transform(self, index: int) -> Array:
        """Picture to crop, (2, 3), of a frame of the source."""
        return crop_transform(self.analysis.pose[index], self.size)

    def cut(self, frame: Frame) -> npt.NDArray[np.uint8]:
        """A frame's crop, uint8 (S, S, 3)."""
        return warp(frame.rgb(), self.transform(frame.index), self.size)

    def place(self, vertices: Array, index: int) -> Array:
        """Canonical geometry (V, 3) under a frame's pose, in its crop, (V, 3)."""
        return apply_transform(self.transform(index), project(vertices, self.analysis.pose[index]))

    def vertices(self, index: int) -> Array:
        """The frame's own geometry in its crop, (V, 3)."""
        return self.place(self.analysis.vertices(self.model, index), index)

    def encode(self, renderer: Renderer, index: int, crop: npt.NDArray[np.uint8]) -> Reference:
        """A frame's crop as a reference."""
        return renderer.encode_frozen([crop], [geometry_map(self.model, self.vertices(index), self.size)])[0]

    def fetch(self, reader: VideoReader, chosen: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """Numbers and crops of frames of the source, in its order."""
        wanted = set(chosen.tolist())
        for frame in reader.frames(min(wanted), max(wanted) + 1):
            if frame.index in wanted:
                yield frame.index, self.cut(frame)
