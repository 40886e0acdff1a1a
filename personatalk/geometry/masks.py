"""Masks of the face crop, drawn from projected geometry: the generated region and the lips.

All functions take vertices in crop pixels, (V, 3), and return masks float32 (size, size) in 0..1.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
import numpy.typing as npt

from ..utils.arrays import Array
from .camera import CROP_SPAN
from .morphable_model import MorphableModel

# How far the lip region reaches beyond the lips, in model units.
LIP_MARGIN = 0.09
# How far the generated region reaches beyond the jaw's outline, in model units, and below it: a beard or a double chin
# ends farther down than the mesh, and what the old chin and the new one hide must lie inside.
FACE_MARGIN, CHIN_MARGIN = 0.06, 0.13
# Vertices farther than this from the mean face's middle, in model units, do not widen the generated region: towards
# the ears the jaw hardly moves, and hair and earrings begin.
FACE_REACH = 0.62
# How far the region is drawn in, in model units, where the surface turns fully aside from the camera; elsewhere by an
# odd power of the share of its normal that points aside. The region's edge is to lie on skin in both the source and the
# result, and behind the far cheek of a turned head there is none.
FAR_SIDE_INSET, FAR_SIDE_POWER = 0.2, 7
# Standard deviation of the soft edge of the generated region, in model units.
FEATHER = 0.035
# Corners of the polygon that stands for a circle around a point.
CIRCLE_CORNERS = 24
# Opacity under which the soft edge is cut off.
FEATHER_CUTOFF = 0.05
# Standard deviations up to which OpenCV's blur of bytes reaches.
BLUR_REACH = 3
# Opacity of each level of the blurred region: the blur's long tail would cost much and show nothing.
_OPACITY = np.clip((np.arange(256, dtype=np.float32) / 255 - FEATHER_CUTOFF) / (1 - 2 * FEATHER_CUTOFF), 0, 1)


def lip_region(model: MorphableModel, vertices: Array, size: int) -> Array:
    """Return M_lip, the dilated hull of the lips."""
    return _hull(vertices[model.lips], LIP_MARGIN, LIP_MARGIN, size).astype(np.float32) / np.float32(255)


def face_region(model: MorphableModel, shapes: list[Array], size: int) -> Array:
    """Return the generated region with a soft edge: the dilated lower faces of all given shapes.

    Target and source both belong in: where the new jaw is higher than the old one, the old one must be painted over.
    """
    points = (model.lower > 0.9) & (np.abs(model.mean[:, 0]) < FACE_REACH)
    drawn_in = (_without_far_side(model, vertices, size)[points] for vertices in shapes)
    mask = np.maximum.reduce([_hull(outline, FACE_MARGIN, CHIN_MARGIN, size) for outline in drawn_in])
    sigma = FEATHER * _pixels_per_unit(size)
    left, top, width, height = cv2.boundingRect(mask)
    around = round(BLUR_REACH * sigma) + 1
    part = np.s_[max(0, top - around) : top + height + around, max(0, left - around) : left + width + around]
    rising = cv2.LUT(cv2.GaussianBlur(mask[part], (0, 0), sigma), _OPACITY)
    soft = np.zeros((size, size), np.float32)
    # The crop's own edge must be soft as well, in case the face reaches beyond it.
    soft[part] = rising * _border(size)[part]
    return soft


def cells(mask: Array, grid: int) -> Array:
    """Return the share of each cell of a grid that a mask covers: (size, size) to (grid, grid)."""
    return cv2.resize(mask, (grid, grid), interpolation=cv2.INTER_AREA)


def grow(active: npt.NDArray[np.bool_], radius: int) -> npt.NDArray[np.bool_]:
    """Dilate a bool grid by a square of the given radius."""
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    return cv2.dilate(active.astype(np.uint8), kernel).astype(bool)


def _pixels_per_unit(size: int) -> float:
    return size / CROP_SPAN


def _without_far_side(model: MorphableModel, vertices: Array, size: int) -> Array:
    """Return where vertices lie, (V, 2), once those that turn aside from the camera are drawn in."""
    across = model.place_on_mean @ vertices[:, 0]
    aside = model.normals @ (across / np.linalg.norm(across))
    inset = FAR_SIDE_INSET * _pixels_per_unit(size) * aside**FAR_SIDE_POWER
    return np.stack([vertices[:, 0] - inset, vertices[:, 1]], axis=1)


def _hull(points: Array, margin: float, below: float, size: int) -> npt.NDArray[np.uint8]:
    """Hull of points and of all that is within margins around and below them in model units, uint8 (size, size)."""
    turn = np.linspace(0, 2 * np.pi, CIRCLE_CORNERS, endpoint=False, dtype=np.float32)
    around = np.stack([margin * np.cos(turn), np.where(turn < np.pi, below, margin) * np.sin(turn)], axis=1)
    around = (max(_pixels_per_unit(size), 1 / margin) * around).astype(np.float32)  # by a pixel at least
    inner = cv2.convexHull(points[:, :2].astype(np.float32))
    # 4 fractional bits and an antialiased edge: the outline moves smoothly from frame to frame.
    outer = cv2.convexHull(((inner + around).reshape(-1, 2) * 16).round().astype(np.int32))
    mask = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(mask, outer, 255, lineType=cv2.LINE_AA, shift=4)
    return mask


@functools.cache
def _border(size: int) -> Array:
    """Return 1 inside and a ramp to 0 at the edges, (size, size)."""
    width = max(2, size // 32)
    ramp = np.minimum(np.arange(size), np.arange(size)[::-1]) / width
    ramp = np.clip(ramp, 0, 1).astype(np.float32)
    return np.minimum.outer(ramp, ramp)
