"""The face of a video in its canonical crop, and as a reference of the renderer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..faces.analysis import Analysis
from ..geometry.camera import CROP_SIZE, CROP_SPAN, covered_area, crop_transform, project_into_crop, warp
from ..geometry.morphable_model import MorphableModel
from ..media.pixels import Box
from ..media.reader import Frame, VideoReader
from ..utils.arrays import Array, Image, IntArray
from .compositing import relit
from .geometry_map import geometry_map
from .options import Resolution
from .reference_cells import Reference
from .runtime import RendererRuntime

# From so many times the renderer's own crop on a face is rendered at twice its side: below, it would hardly show.
LARGE_FACE = 1.4


def choose_crop_size(renderer_size: int, analysis: Analysis, resolution: Resolution = "auto") -> int:
    """Return the side of the crop in pixels for a face: that which the renderer was trained for, or twice as much.

    At twice the side the same network works on a finer grid: it takes finer texture from the same places of the
    references, for four times the work.

    Args:
        renderer_size: Side of the crop that the renderer was trained for, 256 for the package's.
        analysis: Tells how large the face is in the video.
        resolution: "256" for the one, "512" for the other, "auto" by the size of the face.
    """
    spans = CROP_SPAN * np.exp(analysis.pose[analysis.usable, 3])
    large = len(spans) > 0 and float(np.median(spans)) >= LARGE_FACE * renderer_size
    return 2 * renderer_size if resolution == "512" or (resolution == "auto" and large) else renderer_size


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
        width, height = self.analysis.info.upright_size
        transform = self.transform(frame.index)
        box = Box(*covered_area(transform, self.size, width, height))
        transform[:, 2] += transform[:, :2] @ np.array([box.left, box.top], np.float32)
        return warp(frame.alone().rgb(box), transform, self.size)

    def place(self, vertices: Array, index: int) -> Array:
        """Project canonical geometry (V, 3) by the pose of a frame into its crop, (V, 3)."""
        return project_into_crop(vertices, self.analysis.pose[index], self.size)

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
