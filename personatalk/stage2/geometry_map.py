"""The geometry of a face, drawn for the renderer: PNCC map, place codes, and masks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from ..geometry import masks, rasterizer
from ..geometry.morphable_model import MorphableModel
from ..utils.arrays import Array, IntArray
from .keys import place_code

# Crop pixels per latent cell and axis [paper].
CELL_SIZE = 4
# How far apart, in cells, face, background and the inside of the mouth lie in the place code.
KIND_DISTANCE = 6.0
# Factor that makes a unit of the PNCC about one cell: the mean face is about 1.6 units wide.
FACE_SCALE = 0.85


@dataclass(frozen=True)
class GeometryMap:
    """Geometry of one face in the crop, as the renderer needs it.

    Attributes:
        pncc: The paper's G: colour code of the visible face, (3, S, S) in 0..1, 0 elsewhere.
        code: Place code of each latent cell, in cells, (9, S/4, S/4); see `stage2.keys`.
        lips: M_lip, share of each cell, (S/4, S/4).
        face: Lower-face region with a soft edge, (S, S).
    """

    pncc: torch.Tensor
    code: torch.Tensor
    lips: torch.Tensor
    face: torch.Tensor


def geometry_map(model: MorphableModel, vertices: Array, size: int, others: tuple[Array, ...] = ()) -> GeometryMap:
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
    face = rasterizer.render(vertices, model.triangles, _face_attributes(model), size)
    mouth = rasterizer.render(*_mouth_mesh(model, vertices, size), size)
    # The lips hide what is behind them.
    mouth[face[..., 3] > 0] = 0
    background = (1 - face[..., 3:]) * (1 - mouth[..., 3:])
    place = np.stack(np.meshgrid(*[(np.arange(grid) + 0.5)] * 2, indexing="xy")).astype(np.float32)
    pooled = [_pool(x, grid) for x in (face, mouth, background)]
    code = place_code(
        pooled[0][:3] * (grid * FACE_SCALE),
        pooled[1][:3] * grid,
        place * pooled[2],
        KIND_DISTANCE * (pooled[0][3:] - pooled[1][3:]),
    )
    return GeometryMap(
        pncc=torch.from_numpy(np.ascontiguousarray(face[..., :3].transpose(2, 0, 1))),
        code=torch.from_numpy(code),
        lips=torch.from_numpy(masks.cells(masks.lip_region(model, vertices, size), grid)),
        face=torch.from_numpy(masks.face_region(model, [vertices, *others], size)),
    )


def _face_attributes(model: MorphableModel) -> Array:
    """Return the PNCC colour of each vertex and a 1 that tells the face from the background, (V, 4)."""
    return np.concatenate([model.colours(), np.ones((model.num_vertices, 1), np.float32)], axis=1)


def _mouth_mesh(model: MorphableModel, vertices: Array, size: int) -> tuple[Array, IntArray, Array]:
    """Return a strip of triangles that spans the mouth opening, between the inner lips from corner to corner.

    Returns:
        Vertices (2n, 3), triangles, and for each vertex (2n, 4): the place across the mouth, the distances to the upper
        and to the lower lip as shares of the crop's side, and a 1 that tells the mouth from what is around it.
    """
    pairs = model.inner_lips[np.argsort(model.mean[model.inner_lips[:, 0], 0])]
    left, right = model.mouth_corners[np.argsort(model.mean[model.mouth_corners, 0])]
    upper = np.array([left, *pairs[:, 0], right])
    lower = np.array([left, *pairs[:, 1], right])
    gap = np.linalg.norm(vertices[upper, :2] - vertices[lower, :2], axis=1) / size
    across = model.colours()[upper, 0]
    one, none = np.ones_like(gap), np.zeros_like(gap)
    attributes = np.concatenate(
        [np.stack([across, none, gap, one], axis=1), np.stack([across, gap, none, one], axis=1)]
    )
    n, k = len(upper), np.arange(len(upper) - 1)
    triangles = np.concatenate([np.stack([k, k + 1, n + k], axis=1), np.stack([k + 1, n + k, n + k + 1], axis=1)])
    return vertices[np.concatenate([upper, lower])], triangles, attributes.astype(np.float32)


def _pool(image: Array, grid: int) -> Array:
    """Return the means over the cells of a grid: (S, S, C) to (C, grid, grid)."""
    pooled = cv2.resize(image, (grid, grid), interpolation=cv2.INTER_AREA)
    return pooled.reshape(grid, grid, -1).transpose(2, 0, 1)
