"""The geometry of a face, drawn for the renderer: PNCC map, place codes, and masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from ..geometry import masks, rasterizer
from ..geometry.camera import CROP_SPAN
from ..geometry.morphable_model import MorphableModel
from ..utils.arrays import Array, IntArray
from .place_code import place_code

# Crop pixels per latent cell and axis [paper].
CELL_SIZE = 4
# Cells by which the generated region is grown before queries are chosen, for the decoder's convolutions at its edge.
CONTEXT = 1
# How far apart, in cells, face, background and the inside of the mouth lie in the place code.
KIND_DISTANCE = 6.0
# Factor that makes a unit of the PNCC about one cell: the mean face is about 1.6 units wide.
FACE_SCALE = 0.85
# Channels of the drawn geometry.
NUM_CHANNELS = 8
# Depth in model units of the upper teeth behind the lips.
TEETH_DEPTH = 0.05
# How far the heights against the teeth are told, in model units: gums and teeth above the edge of the upper teeth at
# rest, and below it. What lies beyond is dark in every mouth, however wide it is open.
TEETH_ABOVE, TEETH_BELOW = 0.15, 0.1

Grid = TypeVar("Grid")


@dataclass(frozen=True)
class GeometryMap(Generic[Grid]):
    """Geometry of one face in the crop, as the renderer needs it: arrays, or tensors in training.

    Attributes:
        image: The geometry drawn, (8, S, S): the paper's G, colour code of the visible face (3, in 0..1, 0 elsewhere),
            1 where there is face, 1 where there is mouth inside, and there the place across the mouth (-1..1), the
            height against the upper teeth (-1.5..1), which go with the skull, and over the lower lip (0..1).
        code: Place code of each latent cell, in cells, (9, S/4, S/4); see `stage2.place_code`.
        lips: M_lip, share of each cell, (S/4, S/4).
        face: Lower-face region with a soft edge, (S, S).
        region: Cells under that region and next to it, bool (S/4, S/4): all other latents are 0.
    """

    image: Grid
    code: Grid
    lips: Grid
    face: Grid
    region: Grid


ArrayMap = GeometryMap[npt.NDArray[Any]]


def geometry_map(model: MorphableModel, vertices: Array, size: int, others: tuple[Array, ...] = ()) -> ArrayMap:
    """Draw the geometry of one face.

    Args:
        model: The morphable model.
        vertices: Vertices in crop pixels, (V, 3).
        size: Side S of the crop.
        others: Further vertices whose lower faces belong to the region, such as the source's own.

    Returns:
        The maps; one unit of the place code is about one cell.
    """
    grid = size // CELL_SIZE
    image = np.zeros((NUM_CHANNELS, size, size), np.float32)
    rasterizer.draw(vertices, model.triangles, _face_attributes(model), image[:4].transpose(1, 2, 0))
    _draw_mouth(model, vertices, image[3], image[4:])
    neither = (1 - image[3]) * (1 - image[4])
    means = np.stack([masks.cells(plane, grid) for plane in (*image, neither)])
    place = np.stack(np.meshgrid(*[(np.arange(grid) + 0.5)] * 2, indexing="xy")).astype(np.float32)
    code = place_code(
        means[:3] * (grid * FACE_SCALE),
        means[5:8] * (grid * np.array([0.5, TEETH_BELOW, TEETH_BELOW], np.float32)[:, None, None] / CROP_SPAN),
        place * means[8],
        KIND_DISTANCE * (means[3:4] - means[4:5]),
    )
    region = masks.face_region(model, [vertices, *others], size)
    return GeometryMap(
        image=image,
        code=code,
        lips=masks.cells(masks.lip_region(model, vertices, size), grid),
        face=region,
        region=masks.grow(masks.cells(region, grid) > 0, CONTEXT),
    )


def _face_attributes(model: MorphableModel) -> Array:
    """Return the PNCC colour of each vertex and a 1 that tells the face from the background, (V, 4)."""
    return np.concatenate([model.colours(), np.ones((model.num_vertices, 1), np.float32)], axis=1)


def _draw_mouth(model: MorphableModel, vertices: Array, face: Array, mouth: Array) -> None:
    """Draw what lies between the inner lips, and where the teeth are there.

    Args:
        model: The morphable model.
        vertices: Vertices in crop pixels, (V, 3).
        face: 1 where there is face, (S, S): the lips hide what is behind them.
        mouth: The last four channels of `GeometryMap.image`, (4, S, S), all 0.
    """
    size = len(face)
    strip, triangles, attributes = _mouth_mesh(model, vertices)
    drawn = rasterizer.render(strip, triangles, attributes, size)
    low, high = (np.clip(end(strip[:, :2], axis=0), 0, size - 1).astype(int) for end in (np.min, np.max))
    part = np.s_[low[1] : high[1] + 1, low[0] : high[0] + 1]
    rows, columns = np.nonzero((drawn[part][..., 1] > 0) & (face[part] == 0))
    rows, columns = rows + low[1], columns + low[0]
    teeth, unit = _upper_teeth(model, vertices), size / CROP_SPAN
    mouth[:, rows, columns] = (
        np.ones(len(rows)),
        np.clip((columns - teeth[0]) / (0.5 * unit), -1, 1),
        np.clip((rows - teeth[1]) / (TEETH_BELOW * unit), -TEETH_ABOVE / TEETH_BELOW, 1),
        np.clip(drawn[rows, columns, 0] / (TEETH_BELOW * unit), 0, 1),
    )


def _upper_teeth(model: MorphableModel, vertices: Array) -> Array:
    """Return where the middle of the upper teeth's edge lies, (3,): it goes with the skull and not with the lips.

    The skull's position follows from the vertices that hardly move with expression.
    """
    rigid = model.keypoints[model.rigid]
    known = np.concatenate([model.mean[rigid], np.ones((len(rigid), 1), np.float32)], axis=1)
    affine = np.linalg.lstsq(known, vertices[rigid], rcond=None)[0]
    x, y, z = model.mean[model.inner_lips[0]].mean(axis=0)
    edge: Array = np.array([x, y, z + TEETH_DEPTH, 1], np.float32) @ affine
    return edge


def _mouth_mesh(model: MorphableModel, vertices: Array) -> tuple[Array, IntArray, Array]:
    """Return a strip of triangles that spans the mouth opening, between the inner lips from corner to corner.

    Returns:
        Vertices (2n, 3), triangles, and for each vertex (2n, 2): the distance to the lower lip in pixels, and a 1 that
        tells the mouth from what is around it.
    """
    pairs = model.inner_lips[np.argsort(model.mean[model.inner_lips[:, 0], 0])]
    left, right = model.mouth_corners[np.argsort(model.mean[model.mouth_corners, 0])]
    upper = np.array([left, *pairs[:, 0], right])
    lower = np.array([left, *pairs[:, 1], right])
    gap = np.linalg.norm(vertices[upper, :2] - vertices[lower, :2], axis=1)
    attributes = np.stack([np.concatenate([gap, np.zeros_like(gap)]), np.ones(2 * len(gap))], axis=1)
    n, k = len(upper), np.arange(len(upper) - 1)
    triangles = np.concatenate([np.stack([k, k + 1, n + k], axis=1), np.stack([k + 1, n + k, n + k + 1], axis=1)])
    return vertices[np.concatenate([upper, lower])], triangles, attributes.astype(np.float32)
