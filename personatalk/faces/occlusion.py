"""What is in front of the mouth: hands, microphones, cups. It stays there.

The colour of each place of the face hardly changes within a shot, once the frame's light is taken out: lips stay lips
wherever they move, a beard stays a beard. So each frame is sampled at fixed places of the morphable model, the shot's
median colour and its spread are its own model of the face, and what deviates strongly, in a connected region that
comes in from the border of the generated region, is in front of it. Nothing is learned, and no network is needed.

What is in front of a place in more than about half of a shot's frames becomes its colour, and is not told from it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ..geometry import rasterizer
from ..geometry.camera import apply_transform, crop_transform, project, rotations, warp
from ..geometry.masks import FACE_REACH
from ..geometry.morphable_model import MorphableModel
from ..utils.arrays import Array, BoolArray

UInt8 = npt.NDArray[np.uint8]

# Cells per side of the crop of the mean face; one cell is 0.06 of the distance between the eyes' outer corners.
GRID = 32
# Side in pixels of the crop that colours are taken from: fine enough for a cell, and fast.
SAMPLE_SIZE = 128
# Frames, evenly spread, that a shot's colours are learned from.
MOST_SAMPLES = 64
# Frames that are looked at together, so that memory does not grow with the shot, and those beside them.
SPAN, MARGIN = 1000, 8
# Frames under which there is no telling what is usual.
FEWEST_SAMPLES = 12

# Standard deviation of a place's logarithm of lightness that is taken for granted: shadows, folds, tracking.
LIGHTNESS = 0.15
# The same of the logarithms of the channels beside lightness, which light changes little.
COLOUR = 0.06
# Deviation that is no face's, in standard deviations, and the cells that must show it...
STRONG, STRONG_CELLS = 3.0, 4
# ...or a lesser one in so many cells, for things of nearly the colour of skin.
CLEAR, CLEAR_CELLS = 1.8, 25
# Deviation down to which the region around such cells is taken to belong to the same thing.
WEAK = 1.2
# Cells beside the lips that a thing must cover: what moves in the mouth alone is the mouth.
FEWEST_BESIDE = 5
# Cells at the generated region's border that it must cover: things come in from outside.
FEWEST_BORDER = 2
# Share of the lips that must be hidden for a frame to be left alone.
MOUTH_COVERED = 0.6

# How far around the lips, in model units, a cell counts to them.
LIP_RING = 0.09
# Cosine between a place's normal and the line of sight: unseen under the first, fully trusted over the second.
FACING = (0.4, 0.6)
# Distance to the face's outline in model units: unseen under the first, fully trusted over the second.
SILHOUETTE = (0.03, 0.07)


@dataclass(frozen=True)
class ProbePoints:
    """Places of the morphable model that are looked at in every frame: all of the lower face, a few of the upper.

    Attributes:
        mean: Where they are on the mean face, (P, 3).
        identity: Shape basis there, (P, 3, I).
        expression: Expression basis there, (P, 3, E).
        normal: Unit normals of the mean face, away from it, (P, 3).
        cell: Row and column in the grid, (P, 2).
        inside: Whether the place is in the generated region, (P,).
        lips: Whether it belongs to the lips or is next to them, (P,).
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
        """The places of a model: it is drawn from the front, with its bases in the place of colours."""
        count, front = model.num_vertices, np.zeros(6, np.float32)
        corners = apply_transform(crop_transform(front, GRID), project(model.mean, front))
        parts = [
            model.mean,
            model.identity.reshape(count, -1),
            model.expression.reshape(count, -1),
            _normals(model),
            model.lower[:, None],
            np.ones((count, 1), np.float32),
        ]
        drawn = rasterizer.render(corners, model.triangles, np.concatenate(parts, axis=1), GRID)
        rows, columns = np.mgrid[:GRID, :GRID]
        sparse = (rows % 2 == 0) & (columns % 2 == 0)
        cell = np.argwhere((drawn[..., -1] > 0.99) & (sparse | (drawn[..., -2] > 0.05)))
        ends = np.cumsum([part.shape[1] for part in parts])[:-1]
        mean, identity, expression, normal, lower, _ = np.split(drawn[cell[:, 0], cell[:, 1]], ends, axis=1)
        to_lips = np.linalg.norm(mean[:, None, :2] - model.mean[model.lips][None, :, :2], axis=2).min(axis=1)
        inside = (lower[:, 0] > 0.9) & (np.abs(mean[:, 0]) < FACE_REACH)
        identity, expression = (basis.reshape(len(cell), 3, -1) for basis in (identity, expression))
        return cls(mean, identity, expression, normal, cell, inside, to_lips < LIP_RING)

    def at(self, alpha: Array, beta: Array, pose: Array) -> Array:
        """Where the places are in the picture, in pixels: (I,), (E,) and (6,) to (P, 3)."""
        return project(self.mean + self.identity @ alpha + self.expression @ beta, pose)

    def sample(self, rgb: UInt8, alpha: Array, beta: Array, pose: Array) -> UInt8:
        """Colour of each place in a frame, and how well it is seen.

        Args:
            rgb: Upright picture, (H, W, 3).
            alpha: Shape, (I,).
            beta: Expression, (E,).
            pose: (6,).

        Returns:
            uint8 (P, 4): RGB, and the trust in it from 0 (turned away, at the outline, or outside) to 255.
        """
        points = self.at(alpha, beta, pose)[:, :2]
        transform = crop_transform(pose, SAMPLE_SIZE)
        crop = cv2.GaussianBlur(warp(rgb, transform, SAMPLE_SIZE), (0, 0), SAMPLE_SIZE / GRID * 0.3)
        places = apply_transform(transform, points)
        colours = cv2.remap(crop, places[None, :, 0], places[None, :, 1], cv2.INTER_LINEAR)[0]
        facing = -(self.normal @ rotations(pose).T)[:, 2]
        trust = _ramp(facing, FACING) * _ramp(_from_outline(points) / float(np.exp(pose[3])), SILHOUETTE)
        trust *= ((points > 0) & (points < np.array(rgb.shape[1::-1]) - 1)).all(axis=1)
        return np.concatenate([colours, (255 * trust[:, None]).astype(np.uint8)], axis=1)

    def grid(self, values: npt.NDArray[np.generic]) -> Array:
        """Values (P,) in their cells of the grid, (GRID, GRID); 0 elsewhere."""
        out = np.zeros((GRID, GRID), np.float32)
        out[self.cell[:, 0], self.cell[:, 1]] = values
        return out

    def lips_hidden(self, occlusions: UInt8) -> Array:
        """Share of the lips that something is in front of: (T, P) to (T,)."""
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


def find_occlusions(places: ProbePoints, samples: UInt8) -> UInt8:
    """What is in front of the face in the frames of a shot.

    Args:
        places: The places.
        samples: From `Places.sample`, (T, P, 4); frames in order, without gaps where possible.

    Returns:
        uint8 (T, P): 0 where the face is seen, 255 where something is in front of it, between at its edges in time.
    """
    if len(samples) < FEWEST_SAMPLES:
        return np.zeros(samples.shape[:2], np.uint8)
    chosen = np.unique(np.linspace(0, len(samples) - 1, MOST_SAMPLES).round().astype(np.int64))
    usual, occlusions = _ColourModel(places, samples[chosen]), np.zeros(samples.shape[:2], np.uint8)
    for start in range(0, len(samples), SPAN):
        low, stop = max(0, start - MARGIN), min(len(samples), start + SPAN)
        occlusions[start:stop] = _in_front(places, usual, samples[low : stop + MARGIN])[start - low :][: stop - start]
    return occlusions


def _in_front(places: ProbePoints, usual: _ColourModel, samples: UInt8) -> UInt8:
    """`find_occlusions` for some frames in a row; right where `MARGIN` frames are beside them, or the shot ends."""
    deviation = np.stack([_pooled(places, usual.deviation(frame), frame[:, 3] / 255) for frame in samples])
    deviation = _over_time(deviation, np.median, 3)
    trusted = samples[..., 3] > 50
    found = np.stack([_occluders(places, d * t) for d, t in zip(deviation, trusted, strict=True)]).astype(np.float32)
    # A thing that is lost for a frame or two is still there.
    closed = _over_time(_over_time(found, np.max, 5), np.min, 5)
    filled = np.stack([_filled(places, c, t) for c, t in zip(closed, trusted, strict=True)])
    return (255 * _over_time(filled, np.mean, 3)).round().astype(np.uint8)


class _ColourModel:
    """Usual colour of each place in a shot, and how much it varies.

    Args:
        places: The places.
        samples: (N, P, 4).
    """

    def __init__(self, places: ProbePoints, samples: UInt8) -> None:
        self._basis = np.concatenate([np.ones((len(places.mean), 1)), places.mean[:, :2]], axis=1)
        # The few places of the upper face stand for as much of it as the many of the lower one.
        self._share = np.where(places.inside, 1.0, 2.0)
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
        """How far the colours (P, 4) of a frame are from the usual, in standard deviations, (P,)."""
        logs = _logarithms(sample)
        rest = logs - self._light(logs, sample[:, 3] / 255) - self.colour
        lightness = rest.mean(axis=1)
        beside = np.linalg.norm(rest - lightness[:, None], axis=1)
        lightness_spread, beside_spread = self._spreads
        return np.hypot(lightness / np.hypot(LIGHTNESS, lightness_spread), beside / np.hypot(COLOUR, beside_spread))

    def _light(self, logs: npt.NDArray[np.float64], trust: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Change of light, a plane over the face for each channel (P, 3), held up against what is in front."""
        change, weight = logs - self.colour, trust * self._share
        if not weight.any():
            return np.zeros_like(change)
        light = np.broadcast_to(np.median(change[trust > 0.5] if (trust > 0.5).any() else change, axis=0), change.shape)
        for _ in range(5):
            robust = weight / (1 + ((change - light) ** 2).sum(axis=1) / LIGHTNESS**2) ** 2
            weighted = self._basis * robust[:, None]
            matrix = weighted.T @ self._basis + np.diag([1e-6, 1.0, 1.0])
            light = self._basis @ np.linalg.solve(matrix, weighted.T @ change)
        return light


def _logarithms(samples: UInt8) -> npt.NDArray[np.float64]:
    """Colours as logarithms, in which light adds; the noise of near black is kept small."""
    return np.asarray(np.log(samples[..., :3].astype(np.float64) + 10))


def _median_where(
    values: npt.NDArray[np.float64], where: BoolArray, otherwise: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Median over the first axis of what is trusted, and another value where nothing is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN")
        found = np.nanmedian(np.where(where, values, np.nan), axis=0)
    return np.where(np.isnan(found), otherwise, found)


def _pooled(places: ProbePoints, deviation: npt.NDArray[np.float64], trust: npt.NDArray[np.float64]) -> Array:
    """Root mean square over a place and its neighbours, (P,): one cell alone may be a misplaced edge."""
    weight = places.grid(trust)
    squares = cv2.blur(places.grid(deviation**2) * weight, (3, 3)) / (cv2.blur(weight, (3, 3)) + 1e-3)
    return np.sqrt(squares[places.cell[:, 0], places.cell[:, 1]])


def _over_time(values: Array, pick: Callable[..., Array], frames: int) -> Array:
    """A statistic of each frame (T, P) and its neighbours, over an odd number of frames."""
    ends = ((frames // 2, frames // 2), (0, 0))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, ends, mode="edge"), frames, axis=0)
    return np.asarray(pick(windows, axis=-1), np.float32)


def _occluders(places: ProbePoints, deviation: Array) -> BoolArray:
    """Which places of one frame something is in front of, (P,)."""
    grid, inside = places.grid(deviation), places.grid(places.inside) > 0
    beside = inside & (places.grid(places.lips) == 0)
    border = inside & (cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) == 0)
    count, labels = cv2.connectedComponents(((grid > WEAK) & inside).astype(np.uint8), connectivity=8)
    found = np.zeros(inside.shape, bool)
    for label in range(1, count):
        thing = labels == label
        strong = (thing & (grid > STRONG)).sum() >= STRONG_CELLS or (thing & (grid > CLEAR)).sum() >= CLEAR_CELLS
        if strong and (thing & beside).sum() >= FEWEST_BESIDE and (thing & border).sum() >= FEWEST_BORDER:
            found |= thing
    return found[places.cell[:, 0], places.cell[:, 1]]


def _filled(places: ProbePoints, found: Array, trusted: BoolArray) -> Array:
    """Places that were not seen are as their neighbours, (P,)."""
    known = places.grid(trusted & places.inside)
    near, weight = (cv2.GaussianBlur(x, (0, 0), 1.5) for x in (places.grid(found) * known, known))
    spread = (near / (weight + 1e-4))[places.cell[:, 0], places.cell[:, 1]]
    return np.where(trusted & places.inside, found, spread).astype(np.float32)


# ---------------------------------------------------------------------------------------------- drawing


def visibility(cover: UInt8, points: Array, crop: UInt8) -> Array:
    """Where the face is seen in a crop: soft mask, 1 on the face and 0 on what is in front of it.

    Args:
        cover: What is in front of each place, (P,), from `find_occlusions`.
        points: Where the places are, in crop pixels, (P, 2 or 3).
        crop: The source's crop, (S, S, 3), along whose edges the mask is drawn.

    Returns:
        float32 (S, S) in 0..1.
    """
    size, scale = len(crop), 4
    small = size // scale
    total, weight = np.zeros((small, small), np.float32), np.zeros((small, small), np.float32)
    columns, rows = np.clip((points[:, :2] / scale).round().astype(np.int64), 0, small - 1).T
    np.add.at(total, (rows, columns), cover / np.float32(255))
    np.add.at(weight, (rows, columns), 1)
    # A narrow and a wide blur: among the places, and beyond them, on the neck and in the open mouth.
    near, far = size / GRID / scale, 4 * size / GRID / scale
    spread, spread_weight = (
        cv2.GaussianBlur(x, (0, 0), 0.75 * near) + 0.01 * cv2.GaussianBlur(x, (0, 0), far) for x in (total, weight)
    )
    soft = cv2.resize(spread / (spread_weight + 1e-6), (size, size), interpolation=cv2.INTER_LINEAR)
    edged = _guided(soft, crop, radius=size // 32)
    return (1 - _ramp(edged, (0.25, 0.6))).astype(np.float32)


def _guided(mask: Array, crop: UInt8, radius: int) -> Array:
    """Let a mask follow the edges of a picture (guided filter, He et al. 2010)."""
    guide = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    mean, mean_mask, square, product = (
        cv2.blur(x, (2 * radius + 1,) * 2) for x in (guide, mask, guide * guide, guide * mask)
    )
    slope = (product - mean * mean_mask) / (square - mean * mean + 1e-3)
    slope, offset = (cv2.blur(x, (2 * radius + 1,) * 2) for x in (slope, mean_mask - slope * mean))
    return (slope * guide + offset).astype(np.float32)
