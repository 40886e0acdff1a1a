"""The face of a video in its canonical crop, and as a reference of the renderer."""

from __future__ import annotations

from collections.abc import Iterator

from ..faces.analysis import Analysis
from ..geometry.camera import CROP_SIZE, apply_transform, crop_transform, project, warp
from ..geometry.morphable_model import MorphableModel
from ..media.reader import Frame, VideoReader
from ..utils.arrays import Array, Image, IntArray
from .compositing import relit
from .geometry_map import geometry_map
from .renderer import Reference
from .runtime import RendererRuntime


class FaceCropper:
    """Cuts the face of a video out of its frames.

    Args:
        model: The morphable model.
        analysis: Geometry and pose of the face in every frame.
        size: Side of the crop in pixels.
    """

    def __init__(self, model: MorphableModel, analysis: Analysis, size: int = CROP_SIZE) -> None:
        self.model, self.analysis, self.size = model, analysis, size

    def transform(self, index: int) -> Array:
        """Return the transform from image to crop, (2, 3), of a frame."""
        return crop_transform(self.analysis.pose[index], self.size)

    def cut(self, frame: Frame) -> Image:
        """Return the crop of a frame, uint8 (S, S, 3)."""
        return warp(frame.rgb(), self.transform(frame.index), self.size)

    def place(self, vertices: Array, index: int) -> Array:
        """Project canonical geometry (V, 3) by the pose of a frame into its crop, (V, 3)."""
        return apply_transform(self.transform(index), project(vertices, self.analysis.pose[index]))

    def vertices(self, index: int) -> Array:
        """Return the own geometry of a frame in its crop, (V, 3)."""
        return self.place(self.analysis.vertices(self.model, index), index)

    def encode(self, renderer: RendererRuntime, index: int, crop: Image) -> Reference:
        """Encode a frame's crop as a reference, in the usual light of its shot."""
        drawn = geometry_map(self.model, self.vertices(index), self.size)
        return renderer.encode([relit(crop, 1 / self.analysis.light[index])], [drawn])[0]

    def fetch(self, reader: VideoReader, chosen: IntArray) -> Iterator[tuple[int, Image]]:
        """Yield numbers and crops of the chosen frames, in the order of the video."""
        wanted = set(chosen.tolist())
        for frame in reader.frames(min(wanted), max(wanted) + 1):
            if frame.index in wanted:
                yield frame.index, self.cut(frame)
