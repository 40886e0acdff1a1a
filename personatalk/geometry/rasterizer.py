"""PNCC maps: the mesh drawn with a colour code for each point of the face (Zhu et al. 2017; paper, section 3.1).

A pixel belongs to a triangle if its centre lies inside or on the edge; of
several triangles the nearest (smallest z) wins, and of equal ones the first; the colour is interpolated linearly.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..utils.arrays import Array, IntArray
from ..utils.compilation import compiled

# Twice the area, in square pixels, under which a triangle is a line and draws nothing.
MIN_DOUBLE_AREA = 1e-9


def render(vertices: Array, triangles: IntArray, colours: Array, size: int) -> Array:
    """Draw a mesh.

    Args:
        vertices: Pixel positions and depth, (V, 3).
        triangles: Vertex indices, (F, 3).
        colours: Vertex colours, (V, C).
        size: Side of the image in pixels.

    Returns:
        float32 (size, size, C), 0 where no triangle is.
    """
    image = np.zeros((colours.shape[1], size, size), np.float32).transpose(1, 2, 0)
    draw(vertices, triangles, colours, image)
    return image


def draw(vertices: Array, triangles: IntArray, colours: Array, image: Array) -> None:
    """Draw a mesh into an image, float32 (S, S, C), that lies in memory channel by channel; otherwise as `render`."""
    depth = np.full(image.shape[:2], np.inf)
    _fill(vertices.astype(np.float64), triangles, colours.astype(np.float64), image, depth)


def warm_up() -> None:
    """Compile `render`, or load the compiled code of an earlier run."""
    render(np.zeros((3, 3), np.float32), np.array([[0, 1, 2]]), np.zeros((3, 4), np.float32), 4)
    render(np.zeros((3, 3), np.float32), np.array([[0, 1, 2]]), np.zeros((3, 3), np.float32), 4)


@compiled()
def _fill(
    points: npt.NDArray[np.float64],
    triangles: IntArray,
    colours: npt.NDArray[np.float64],
    image: Array,
    depth: npt.NDArray[np.float64],
) -> None:
    size = image.shape[0]
    for f in range(triangles.shape[0]):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        ax, ay = points[a, 0], points[a, 1]
        bx, by = points[b, 0], points[b, 1]
        cx, cy = points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < MIN_DOUBLE_AREA:
            continue
        left, right = max(0.0, np.ceil(min(ax, bx, cx))), min(size - 1.0, np.floor(max(ax, bx, cx)))
        top, bottom = max(0.0, np.ceil(min(ay, by, cy))), min(size - 1.0, np.floor(max(ay, by, cy)))
        sign = 1.0 if area > 0 else -1.0
        for row in range(int(top), int(bottom) + 1):
            for column in range(int(left), int(right) + 1):
                v = (column - ax) * (cy - ay) - (row - ay) * (cx - ax)
                w = (bx - ax) * (row - ay) - (by - ay) * (column - ax)
                # Most pixels of the box fail here, before the divisions, which are slow.
                if v * sign < 0 or w * sign < 0:
                    continue
                v, w = v / area, w / area
                u = 1 - v - w
                if u < 0:
                    continue
                z = u * points[a, 2] + v * points[b, 2] + w * points[c, 2]
                if z < depth[row, column]:
                    depth[row, column] = z
                    for k in range(image.shape[2]):
                        image[row, column, k] = u * colours[a, k] + v * colours[b, k] + w * colours[c, k]
