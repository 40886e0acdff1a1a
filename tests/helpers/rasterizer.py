"""The plain definition of what the fast rasteriser draws."""

from __future__ import annotations

import numpy as np

from personatalk.geometry.rasterizer import MIN_DOUBLE_AREA
from personatalk.utils.arrays import Array, IntArray


def render_reference(vertices: Array, triangles: IntArray, colours: Array, size: int) -> Array:
    """Draw a mesh, triangle by triangle over the whole image; arguments and result as in `rasterizer.render`."""
    image = np.zeros((size, size, colours.shape[1]), np.float64)
    depth = np.full((size, size), np.inf)
    y, x = np.mgrid[:size, :size].astype(np.float64)
    points = vertices.astype(np.float64)
    for triangle in triangles:
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = points[triangle]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < MIN_DOUBLE_AREA:
            continue
        v = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
        w = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
        u = 1 - v - w
        z = u * az + v * bz + w * cz
        hit = (u >= 0) & (v >= 0) & (w >= 0) & (z < depth)
        depth[hit] = z[hit]
        image[hit] = np.stack([u, v, w], axis=-1)[hit] @ colours[triangle]
    return image.astype(np.float32)
