"""Boxes around regions of the latent grid: the part of a face crop for which something has to be computed."""

from __future__ import annotations

import numpy as np

from ..utils.arrays import BoolArray
from .geometry_map import CELL_SIZE

# Rows and columns of a part of a grid.
Box = tuple[slice, slice]


def bounding_box(where: BoolArray, margin: int, multiple: int = 1) -> Box:
    """Return rows and columns of the box around a region of a grid; the whole grid where the region is empty.

    Args:
        where: The region, (h, w).
        margin: Cells by which the box is wider, as far as the grid goes.
        multiple: The sides become multiples of it, as far as the grid goes: engines prepare themselves for each size.
    """
    sides = []
    for axis, size in enumerate(where.shape):
        inside = np.flatnonzero(where.any(axis=1 - axis))
        first, last = (int(inside[0]), int(inside[-1])) if len(inside) else (0, size - 1)
        start, stop = max(0, first - margin), min(size, last + 1 + margin)
        length = min(size, -(-(stop - start) // multiple) * multiple)
        start = min(start, size - length)
        sides.append(slice(start, start + length))
    return sides[0], sides[1]


def pixel_span(cells: slice) -> slice:
    """Return the rows or columns of pixels that a span of cells covers."""
    return slice(cells.start * CELL_SIZE, cells.stop * CELL_SIZE)


def pixel_box(box: Box) -> Box:
    """Return the box of pixels that a box of cells covers."""
    return pixel_span(box[0]), pixel_span(box[1])
