"""Occlusions of the mouth: hands, microphones and cups in front of it, which an output must keep.

The colour of each point of the face hardly changes within a shot, once the frame's light is taken out: lips stay lips
wherever they move, a beard stays a beard. So each frame is sampled at fixed probe points of the morphable model. The
median and the spread of a shot's colours are its colour model. Points that deviate strongly from it, in a connected
region that reaches the border of the generated region, are occluded. Nothing is learned, and no network is needed.

An occluder that covers a point in more than about half of a shot's frames becomes its colour, and is not found.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ..geometry import rasterizer
from ..geometry.camera import apply_transform, crop_transform, project, project_into_crop, rotations, warp
from ..geometry.masks import FACE_REACH
from ..geometry.morphable_model import MorphableModel
from ..utils.arrays import Array, BoolArray

UInt8 = npt.NDArray[np.uint8]

# Cells per side of the crop of the mean face; one cell is 0.06 of the distance between the eyes' outer corners.
PROBE_GRID = 32
# Side in pixels of the crop that colours are taken from: fine enough for a cell, and fast.
SAMPLE_CROP_SIZE = 128
# Trust, 0..255, above which a sample counts.
MIN_TRUST = 50
# Frames, evenly spread, that a shot's colours are learned from.
MAX_COLOUR_SAMPLES = 64
# Frames under which a shot tells nothing about its usual colours.
MIN_COLOUR_SAMPLES = 12
# Frames that are processed together, so that memory does not grow with the shot.
OCCLUSION_SPAN = 1000
# Frames beside them that their results depend on.
OCCLUSION_MARGIN = 8

# Standard deviation of the logarithm of a point's lightness that is taken for granted: shadows, folds, tracking.
LIGHTNESS_SPREAD = 0.15
# The same of the logarithms of the channels relative to lightness, which light changes little.
COLOUR_SPREAD = 0.06
# Deviation in standard deviations that no face shows, and the least number of cells with it in an occluder.
STRONG_DEVIATION = 3.0
MIN_STRONG_CELLS = 4
# The same for occluders of nearly the colour of skin: less deviation in more cells.
CLEAR_DEVIATION = 1.8
MIN_CLEAR_CELLS = 25
# Deviation down to which the region around such cells belongs to the same occluder.
WEAK_DEVIATION = 1.2
# Cells beside the lips that an occluder must cover: what moves in the mouth alone is the mouth.
MIN_CELLS_BESIDE_LIPS = 5
# Cells at the border of the generated region that it must cover: occluders come in from outside.
MIN_BORDER_CELLS = 2
# Share of the lips up to which occlusion is accepted; above it the frame is passed through.
MAX_LIPS_HIDDEN = 0.6

# Distance to the lips, in model units, within which a point counts to them.
LIP_RING = 0.09
# Cosine between a point's normal and the line of sight: no trust under the first, full trust over the second.
FACING_RANGE = (0.4, 0.6)
# Distance to the face's outline in model units: no trust under the first, full trust over the second.
OUTLINE_RANGE = (0.03, 0.07)


@dataclass(frozen=True)
class ProbePoints:
    """Points of the morphable model that are sampled in every frame: dense on the lower face, sparse on the upper.

    Attributes:
        mean: Positions on the mean face, (P, 3).
        identity: Shape basis there, (P, 3, I).
        expression: Expression basis there, (P, 3, E).
        normal: Unit normals of the mean face, away from it, (P, 3).
        cell: Row and column in the grid, (P, 2).
        inside: Whether a point is in the generated region, (P,).
        lips: Whether a point belongs to the lips or is next to them, (P,).
    """

    mean: Array
    identity: Array
    expression: Array
    normal: Array
    cell: npt.NDArray[np.int64]
    inside: BoolArray
    lips: BoolArray

    @classmethod
    def of(cls, model: MorphableModel) -> ProbePoints:
        """Make the points of a model, by drawing it from the front with its bases in place of colours."""
        count, front = model.num_vertices, np.zeros(6, np.float32)
        corners = project_into_crop(model.mean, front, PROBE_GRID)
        parts = [
            model.mean,
            model.identity.reshape(count, -1),
            model.expression.reshape(count, -1),
            _normals(model),
            model.lower[:, None],
            np.ones((count, 1), np.float32),
        ]
        drawn = rasterizer.render(corners, model.triangles, np.concatenate(parts, axis=1), PROBE_GRID)
        rows, columns = np.mgrid[:PROBE_GRID, :PROBE_GRID]
        sparse = (rows % 2 == 0) & (columns % 2 == 0)
        cell = np.argwhere((drawn[..., -1] > 0.99) & (sparse | (drawn[..., -2] > 0.05)))
        ends = np.cumsum([part.shape[1] for part in parts])[:-1]
        mean, identity, expression, normal, lower, _ = np.split(drawn[cell[:, 0], cell[:, 1]], ends, axis=1)
        to_lips = np.linalg.norm(mean[:, None, :2] - model.mean[model.lips][None, :, :2], axis=2).min(axis=1)
        inside = (lower[:, 0] > 0.9) & (np.abs(mean[:, 0]) < FACE_REACH)
        identity, expression = (basis.reshape(len(cell), 3, -1) for basis in (identity, expression))
        return cls(mean, identity, expression, normal, cell, inside, to_lips < LIP_RING)

    def at(self, alpha: Array, beta: Array, pose: Array) -> Array:
        """Project the points into the image, in pixels: (I,), (E,) and (6,) to (P, 3)."""
        return project(self.mean + self.identity @ alpha + self.expression @ beta, pose)

    def sample(self, rgb: UInt8, alpha: Array, beta: Array, pose: Array) -> UInt8:
        """Sample the colour of each point in a frame, and how well the point is seen.

        Args:
            rgb: Upright image, uint8 (H, W, 3).
            alpha: Shape, (I,).
            beta: Expression, (E,).
            pose: Head pose, (6,).

        Returns:
            uint8 (P, 4): RGB, and the trust in it from 0 (turned away, at the outline, or outside the image) to 255.
        """
        points = self.at(alpha, beta, pose)[:, :2]
        transform = crop_transform(pose, SAMPLE_CROP_SIZE)
        crop = cv2.GaussianBlur(warp(rgb, transform, SAMPLE_CROP_SIZE), (0, 0), SAMPLE_CROP_SIZE / PROBE_GRID * 0.3)
        x, y = apply_transform(transform, points).T
        colours = cv2.remap(crop, x[None], y[None], cv2.INTER_LINEAR)[0]
        facing = -(self.normal @ rotations(pose).T)[:, 2]
        trust = _ramp(facing, FACING_RANGE) * _ramp(_from_outline(points) / float(np.exp(pose[3])), OUTLINE_RANGE)
        trust *= ((points > 0) & (points < np.array(rgb.shape[1::-1]) - 1)).all(axis=1)
        return np.concatenate([colours, (255 * trust[:, None]).astype(np.uint8)], axis=1)

    def grid(self, values: npt.NDArray[np.generic]) -> Array:
        """Values (P,) in their cells of the grid, (GRID, GRID); 0 elsewhere."""
        out = np.zeros((PROBE_GRID, PROBE_GRID), np.float32)
        out[self.cell[:, 0], self.cell[:, 1]] = values
        return out

    def lips_hidden(self, occlusions: UInt8) -> Array:
        """Return the share of the lips that is occluded: (T, P) to (T,)."""
        return (occlusions[:, self.lips] > 127).mean(axis=1, dtype=np.float32)


def _normals(model: MorphableModel) -> Array:
    """Unit vertex normals of the mean face that point away from it, (V, 3)."""
    a, b, c = (model.mean[model.triangles[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    flat *= np.where(flat[:, 2:] > 0, -1, 1)  # the camera is where z is small
    total = np.zeros_like(model.mean)
    for k in range(3):
        np.add.at(total, model.triangles[:, k], flat)
    return (total / (np.linalg.norm(total, axis=1, keepdims=True) + 1e-9)).astype(np.float32)


def _ramp(values: Array, ends: tuple[float, float]) -> Array:
    return np.clip((values - ends[0]) / (ends[1] - ends[0]), 0, 1).astype(np.float32)


def _from_outline(points: Array) -> Array:
    """Distance of points (P, 2) to the outline of all of them, in their unit, (P,)."""
    corners = cv2.convexHull(np.ascontiguousarray(points))[:, 0]
    edges = np.roll(corners, -1, axis=0) - corners
    across = np.stack([-edges[:, 1], edges[:, 0]], axis=1) / (np.linalg.norm(edges, axis=1, keepdims=True) + 1e-9)
    return np.abs(np.einsum("phk,hk->ph", points[:, None] - corners, across)).min(axis=1)


# ---------------------------------------------------------------------------------------------- finding


def find_occlusions(points: ProbePoints, samples: UInt8, span: int = OCCLUSION_SPAN) -> UInt8:
    """Find what is occluded in the frames of a shot.

    Args:
        points: The probe points.
        samples: From `ProbePoints.sample`, (T, P, 4); frames in order, without gaps where possible.
        span: Frames that are processed together; it bounds the memory and changes nothing else.

    Returns:
        uint8 (T, P): 0 where the face is seen, 255 where it is occluded, and between at the edges in time.
    """
    if len(samples) < MIN_COLOUR_SAMPLES:
        return np.zeros(samples.shape[:2], np.uint8)
    chosen = np.unique(np.linspace(0, len(samples) - 1, MAX_COLOUR_SAMPLES).round().astype(np.int64))
    colours, occlusions = ColourModel(points, samples[chosen]), np.zeros(samples.shape[:2], np.uint8)
    for start in range(0, len(samples), span):
        low, stop = max(0, start - OCCLUSION_MARGIN), min(len(samples), start + span)
        found = _occlusions(points, colours, samples[low : stop + OCCLUSION_MARGIN])
        occlusions[start:stop] = found[start - low : stop - low]
    return occlusions


def _occlusions(points: ProbePoints, colours: ColourModel, samples: UInt8) -> UInt8:
    """Find the occlusions of consecutive frames; right `OCCLUSION_MARGIN` frames inside, or where the shot ends."""
    deviation = np.stack([_pooled(points, colours.deviation(frame), frame[:, 3] / 255) for frame in samples])
    deviation = _over_time(deviation, np.median, 3)
    trusted = samples[..., 3] > MIN_TRUST
    found = np.stack([_occluders(points, d * t) for d, t in zip(deviation, trusted, strict=True)]).astype(np.float32)
    # An occluder that is lost for a frame or two is still there.
    closed = _over_time(_over_time(found, np.max, 5), np.min, 5)
    filled = np.stack([_filled(points, c, t) for c, t in zip(closed, trusted, strict=True)])
    return (255 * _over_time(filled, np.mean, 3)).round().astype(np.uint8)


class ColourModel:
    """Usual colour of each probe point in a shot, and its spread.

    Args:
        points: The probe points.
        samples: Samples of some frames, (N, P, 4).
    """

    def __init__(self, points: ProbePoints, samples: UInt8) -> None:
        self._basis = np.concatenate([np.ones((len(points.mean), 1)), points.mean[:, :2]], axis=1)
        # The sparse points of the upper face stand for as much of it as the dense ones of the lower face.
        self._share = np.where(points.inside, 1.0, 2.0)
        logs, trusted = _logarithms(samples), samples[..., 3:] > 127
        self.colour = np.median(logs, axis=0)
        for _ in range(2):
            lit = np.stack([x - self._light(x, s[:, 3] / 255) for x, s in zip(logs, samples, strict=True)])
            self.colour = _median_where(lit, trusted, self.colour)
        rest = lit - self.colour
        lightness = rest.mean(axis=2, keepdims=True)
        beside = np.linalg.norm(rest - lightness, axis=2, keepdims=True)
        ones = np.ones((len(rest[0]), 1))
        self._spreads = [1.5 * _median_where(np.abs(x), trusted, ones)[:, 0] for x in (lightness, beside)]

    def deviation(self, sample: UInt8) -> npt.NDArray[np.float64]:
        """Return the deviation of a frame's samples (P, 4) from the usual colours, in standard deviations, (P,)."""
        logs = _logarithms(sample)
        rest = logs - self._light(logs, sample[:, 3] / 255) - self.colour
        lightness = rest.mean(axis=1)
        beside = np.linalg.norm(rest - lightness[:, None], axis=1)
        lightness_spread, beside_spread = self._spreads
        return np.hypot(
            lightness / np.hypot(LIGHTNESS_SPREAD, lightness_spread), beside / np.hypot(COLOUR_SPREAD, beside_spread)
        )

    def _light(self, logs: npt.NDArray[np.float64], trust: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Estimate the change of light as a plane over the face for each channel, (P, 3), robust against occluders."""
        change, weight = logs - self.colour, trust * self._share
        if not weight.any():
            return np.zeros_like(change)
        light = np.broadcast_to(np.median(change[trust > 0.5] if (trust > 0.5).any() else change, axis=0), change.shape)
        for _ in range(5):
            robust = weight / (1 + ((change - light) ** 2).sum(axis=1) / LIGHTNESS_SPREAD**2) ** 2
            weighted = self._basis * robust[:, None]
            matrix = weighted.T @ self._basis + np.diag([1e-6, 1.0, 1.0])
            light = self._basis @ np.linalg.solve(matrix, weighted.T @ change)
        return light


def _logarithms(samples: UInt8) -> npt.NDArray[np.float64]:
    """Return colours as logarithms, in which light adds; the noise of near black is kept small."""
    return np.asarray(np.log(samples[..., :3].astype(np.float64) + 10))


def _median_where(
    values: npt.NDArray[np.float64], where: BoolArray, otherwise: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the median over the first axis of what is trusted, and another value where nothing is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN")
        found = np.nanmedian(np.where(where, values, np.nan), axis=0)
    return np.where(np.isnan(found), otherwise, found)


def _pooled(points: ProbePoints, deviation: npt.NDArray[np.float64], trust: npt.NDArray[np.float64]) -> Array:
    """Root mean square over a point and its neighbours, (P,): one cell alone may be a misplaced edge."""
    weight = points.grid(trust)
    squares = cv2.blur(points.grid(deviation**2) * weight, (3, 3)) / (cv2.blur(weight, (3, 3)) + 1e-3)
    return np.sqrt(squares[points.cell[:, 0], points.cell[:, 1]])


def _over_time(values: Array, pick: Callable[..., Array], frames: int) -> Array:
    """A statistic of each frame (T, P) and its neighbours, over an odd number of frames."""
    ends = ((frames // 2, frames // 2), (0, 0))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, ends, mode="edge"), frames, axis=0)
    return np.asarray(pick(windows, axis=-1), np.float32)


def _occluders(points: ProbePoints, deviation: Array) -> BoolArray:
    """Return whether each point of one frame is occluded, (P,)."""
    grid, inside = points.grid(deviation), points.grid(points.inside) > 0
    beside = inside & (points.grid(points.lips) == 0)
    border = inside & (cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) == 0)
    count, labels = cv2.connectedComponents(((grid > WEAK_DEVIATION) & inside).astype(np.uint8), connectivity=8)
    found = np.zeros(inside.shape, bool)
    for label in range(1, count):
        region = labels == label
        strong = (region & (grid > STRONG_DEVIATION)).sum() >= MIN_STRONG_CELLS
        clear = (region & (grid > CLEAR_DEVIATION)).sum() >= MIN_CLEAR_CELLS
        reaches_skin = (region & beside).sum() >= MIN_CELLS_BESIDE_LIPS
        reaches_border = (region & border).sum() >= MIN_BORDER_CELLS
        if (strong or clear) and reaches_skin and reaches_border:
            found |= region
    return found[points.cell[:, 0], points.cell[:, 1]]


def _filled(points: ProbePoints, found: Array, trusted: BoolArray) -> Array:
    """Take over the neighbours' values at points that were not seen, (P,)."""
    known = points.grid(trusted & points.inside)
    near, weight = (cv2.GaussianBlur(x, (0, 0), 1.5) for x in (points.grid(found) * known, known))
    spread = (near / (weight + 1e-4))[points.cell[:, 0], points.cell[:, 1]]
    return np.where(trusted & points.inside, found, spread).astype(np.float32)


# ---------------------------------------------------------------------------------------------- drawing


def visibility(occlusion: UInt8, points: Array, crop: UInt8) -> Array:
    """Return the soft mask of the visible face in a crop: 1 on the face and 0 on what occludes it.

    Args:
        occlusion: Occlusion of each probe point, uint8 (P,), from `find_occlusions`.
        points: Positions of the probe points in crop pixels, (P, 2 or 3).
        crop: The source's crop, uint8 (S, S, 3), along whose edges the mask runs.

    Returns:
        float32 (S, S) in 0..1.
    """
    size, scale = len(crop), 4
    small = size // scale
    total, weight = np.zeros((small, small), np.float32), np.zeros((small, small), np.float32)
    columns, rows = np.clip((points[:, :2] / scale).round().astype(np.int64), 0, small - 1).T
    np.add.at(total, (rows, columns), occlusion / np.float32(255))
    np.add.at(weight, (rows, columns), 1)
    # A narrow and a wide blur: among the points, and beyond them, on the neck and in the open mouth.
    near, far = size / PROBE_GRID / scale, 4 * size / PROBE_GRID / scale
    spread, spread_weight = (
        cv2.GaussianBlur(x, (0, 0), 0.75 * near) + 0.01 * cv2.GaussianBlur(x, (0, 0), far) for x in (total, weight)
    )
    soft = cv2.resize(spread / (spread_weight + 1e-6), (size, size), interpolation=cv2.INTER_LINEAR)
    edged = _guided(soft, crop, radius=size // 32)
    return (1 - _ramp(edged, (0.25, 0.6))).astype(np.float32)


def _guided(mask: Array, crop: UInt8, radius: int) -> Array:
    """Align a mask with the edges of an image (guided filter, He et al. 2010)."""
    guide = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    mean, mean_mask, square, product = (
        cv2.blur(x, (2 * radius + 1,) * 2) for x in (guide, mask, guide * guide, guide * mask)
    )
    slope = (product - mean * mean_mask) / (square - mean * mean + 1e-3)
    slope, offset = (cv2.blur(x, (2 * radius + 1,) * 2) for x in (slope, mean_mask - slope * mean))
    return (slope * guide + offset).astype(np.float32)
