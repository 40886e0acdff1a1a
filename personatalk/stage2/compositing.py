"""Compositing: the rendered face goes back into the frame at the source's resolution.

The paper does not describe this step. The face is matched in colour along the mask's soft edge, where source and
result show the same skin, and warped to the frame; no pixel outside the mask changes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ..geometry.camera import apply_transform, invert_transform
from ..utils.arrays import Array, BoolArray, Image

# Cells per side of the grid on which colours are compared.
COLOUR_GRID = 64
# Grey levels that are added before colours are divided: near black a gain would only enlarge the noise.
RIM_NEAR_BLACK = 8.0
# Largest shift in grey levels beside the gain.
MOST_SHIFT = 24.0
# Difference in grey levels from which on two pixels are taken to show different things, such as chin and collar.
SAME_PLACE = 40.0
# Grey level of the edge below which that difference shrinks in proportion.
RIM_WELL_LIT = 100.0
# Opacity between which a cell belongs to the edge of the mask.
EDGE = (0.2, 0.95)
# Standard deviations in cells of the blurs that spread the difference inwards, and their weights: close to the edge the
# near differences count, far from it the mean.
SPREAD = ((3.0, 1.0), (10.0, 0.1), (30.0, 0.01))


@dataclass(frozen=True)
class Patch:
    """Part of a frame to be blended in.

    Attributes:
        pixels: uint8 (h, w, 3).
        mask: Opacity, float32 (h, w) in 0..1.
        left: Column of its first pixel in the frame.
        top: Row of its first pixel in the frame.
    """

    pixels: Image
    mask: Array
    left: int
    top: int


@dataclass(frozen=True)
class Rim:
    """The surroundings of a mask's edge in a source crop, on the grid on which colours are compared.

    Attributes:
        opacity: Mask, float32 (64, 64).
        colours: Colours of the source, float32 (64, 64, 3).
    """

    opacity: Array
    colours: Array

    @classmethod
    def of(cls, source: Image, mask: Array) -> Rim:
        """Return the rim of a mask, float32 (S, S) in 0..1.

        Args:
            source: Crop of the source, uint8 (S, S, 3), or its `coarse_colours`.
            mask: Opacity.
        """
        return cls(coarse_colours(mask), coarse_colours(source).astype(np.float32))


def coarse_colours(crop: Any) -> Any:
    """Return the means over the cells of the grid on which colours are compared: (S, S, ...) to (64, 64, ...)."""
    return cv2.resize(crop, (COLOUR_GRID, COLOUR_GRID), interpolation=cv2.INTER_AREA)


def relit(image: Image, light: Array) -> Image:
    """Multiply the channels of an image uint8 (h, w, 3) by the gains `light` (3,)."""
    if (light == 1).all():
        return image
    bright: Image = cv2.multiply(image, (*light.tolist(), 0), dtype=cv2.CV_8U)  # rounds, and stays in 0..255
    return bright


def match_colours(rendered: Image, rim: Rim) -> Image:
    """Bring the colours of the rendered crop to those of the source along the edge of the mask.

    The light that all of the edge shows is a gain: dark stays dark, and lips and teeth keep their contrast to skin.
    What differs from it is shifted, where the mask is soft and both crops plausibly show the same place, and the shift
    spread inwards smoothly, so that it follows light that falls across the face.

    Args:
        rendered: Rendered crop, uint8 (S, S, 3).
        rim: The source around the mask.

    Returns:
        The matched crop, uint8 (S, S, 3); the rendered one where there is no edge to compare.
    """
    old, new = rim.colours, coarse_colours(rendered).astype(np.float32)
    # And the cells next to it: what lies just inside must not stand out from what is seen through the edge.
    edge = (rim.opacity > EDGE[0]) & (cv2.erode(rim.opacity, np.ones((3, 3), np.uint8)) < EDGE[1])
    if not edge.any():
        return rendered
    gain = np.median((old[edge] + RIM_NEAR_BLACK) / (new[edge] + RIM_NEAR_BLACK), axis=0)
    offset = RIM_NEAR_BLACK * (gain - 1)
    shift = offset + _spread_inwards(old - (gain * new + offset), edge, _same_place(old[edge]))
    smooth = cv2.resize(shift, rendered.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    lit = cv2.multiply(rendered, (*gain.tolist(), 0), dtype=cv2.CV_32F)
    matched: Image = cv2.add(lit, smooth, dtype=cv2.CV_8U)  # rounds, and stays in 0..255
    return matched


def keep_other_things(matched: Image, rim: Rim, mask: Array) -> Array:
    """Lower the opacity along the edge where the source shows another thing there, such as what is behind the face.

    Args:
        matched: What `match_colours` returned.
        rim: The source around the mask.
        mask: Opacity, float32 (S, S) in 0..1.
    """
    old, new = rim.colours, coarse_colours(matched).astype(np.float32)
    edge = (rim.opacity > 0) & (rim.opacity < EDGE[1])
    if not edge.any():
        return mask
    most = _same_place(old[edge])
    other = np.clip(np.abs(old - new).max(axis=2) / most - 1, 0, 1) * edge
    if not other.any():
        return mask
    near = cv2.GaussianBlur(cv2.dilate(other.astype(np.float32), np.ones((3, 3), np.uint8)), (0, 0), 1.0)
    kept: Array = mask * (1 - cv2.resize(near, mask.shape[::-1], interpolation=cv2.INTER_LINEAR))
    return kept


def _same_place(colours: Array) -> float:
    """Return the difference up to which two pixels may show the same thing, from the source's colours at the edge."""
    level = float(np.median(colours, axis=0).max())
    return max(SAME_PLACE * min(1.0, level / RIM_WELL_LIT), RIM_NEAR_BLACK / 2)


def _spread_inwards(difference: Array, edge: BoolArray, most: float) -> Array:
    """Return a smooth shift (64, 64, 3) that is nearly the difference at the edge, where that is less than `most`."""
    weight = (edge & (np.abs(difference).max(axis=2) < most)).astype(np.float32)
    weighted = np.concatenate([difference * weight[..., None], weight[..., None]], axis=2).transpose(2, 0, 1)
    *spread, spread_weight = sum(trust * (_blur(sigma) @ weighted @ _blur(sigma).T) for sigma, trust in SPREAD)
    return np.clip(np.stack(spread, axis=2) / (spread_weight[..., None] + 1e-6), -MOST_SHIFT, MOST_SHIFT)


@functools.cache
def _blur(sigma: float) -> Array:
    """Return the matrix that blurs the columns of a grid: wide blurs are faster as products."""
    taps = 2 * round(4 * sigma) + 1
    return cv2.GaussianBlur(np.eye(COLOUR_GRID, dtype=np.float32), (1, taps), sigmaX=1, sigmaY=sigma)


def to_image(crop: Image, mask: Array, transform: Array, width: int, height: int) -> Patch | None:
    """Warp a crop and its mask to the frame.

    Args:
        crop: Rendered crop, uint8 (S, S, 3).
        mask: Opacity, float32 (S, S) in 0..1.
        transform: Transform from frame to crop, (2, 3).
        width: Width of the frame in pixels.
        height: Height of the frame in pixels.

    Returns:
        The patch, or None if none of the mask lies in the frame.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    back = invert_transform(transform)
    x0, x1, y0, y1 = columns[0] - 1, columns[-1] + 1, rows[0] - 1, rows[-1] + 1
    corners = apply_transform(back, np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]], np.float32))
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, [width, height])
    if right <= left or bottom <= top:
        return None
    moved = back.copy()
    moved[:, 2] -= (left, top)
    size = (int(right - left), int(bottom - top))
    pixels = cv2.warpAffine(crop, moved, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    opacity = cv2.warpAffine(mask, moved, size, flags=cv2.INTER_LINEAR)
    if not opacity.any():
        return None
    return Patch(pixels, np.clip(opacity, 0, 1), int(left), int(top))
