"""The invisible watermark in dubbed faces, and its detector.

The watermark is a faint pattern of brightness in the face crop, band-limited so that it survives scaling and encoding,
and drawn anew for each slot of time from a keyed generator. It is spread spectrum (Cox et al. 1997) with signs that
change over time as well, so that the face itself, which stays much the same, drops out in the detector.

The detector correlates what changes in the crop with those signs, over all phases, since the video may have been cut.
Whatever a video shows, a sum of values with independent random signs exceeds z times the root of the sum of their
squares with a probability of at most exp(-z^2 / 2) (Hoeffding 1963). The threshold is where that bound, times the
number of sums that are looked at, is `FALSE_ALARMS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from ..utils.arrays import Array, Image

Float64 = npt.NDArray[np.float64]

# Seed of the signs. It is public: the watermark informs honest people, it does not stop thieves.
WATERMARK_KEY = 20241203
# Side of the grid on which the pattern lives; a cell is 4 pixels of the crop of 256.
GRID = 64
# Least and most frequency of the pattern in half waves per crop side: waves of 43 to 17 pixels of the crop of 256.
# Finer ones are lost at half size, coarser ones are fewer and easier to see.
BAND = (12.0, 30.0)
# Seconds in which one pattern fades into the next. Slower is fewer signs, faster is lost in encoding.
SLOT = 0.2
# Patterns, after which they repeat.
SLOTS = 16
# Phases within a slot that the detector tries.
STEPS = 4
# Root mean square of the watermark in grey levels; about 44 dB below the image.
AMPLITUDE = 1.6

# Seconds that the detector looks at as one piece.
STRETCH_SECONDS = 3.0
# Standard deviation in seconds of the moving average that stands for the face without the watermark.
SMOOTHING = 0.5
# Least standard deviation over time that a cell is taken to have, in grey levels.
NOISE_FLOOR = 1.0
# A piece with fewer frames says nothing.
FEWEST_FRAMES = 10
# Largest probability of finding the watermark in a video without it.
FALSE_ALARMS = 1e-3


@lru_cache(maxsize=1)
def _band() -> npt.NDArray[np.bool_]:
    u = np.arange(GRID)
    radius = np.hypot(u[:, None], u[None, :])
    return (radius >= BAND[0]) & (radius < BAND[1])


@lru_cache(maxsize=2)
def _signs(key: int) -> Array:
    """Return the signs of the J cosine coefficients of each pattern, (SLOTS, J)."""
    bits = np.random.Generator(np.random.PCG64(key)).integers(0, 2, (SLOTS, int(_band().sum())))
    return (2 * bits - 1).astype(np.float32)


@lru_cache(maxsize=2)
def _patterns(key: int) -> Array:
    """Return the patterns with root mean square 1, (SLOTS, GRID, GRID)."""
    coefficients = np.zeros((SLOTS, GRID, GRID), np.float32)
    coefficients[:, _band()] = _signs(key)
    flat = np.stack([cv2.idct(c) for c in coefficients])
    return (flat / np.sqrt((flat**2).mean())).astype(np.float32)


@lru_cache(maxsize=1)
def _window() -> Array:
    """Return the usual place of the generated region in the crop, (GRID, GRID) in 0..1."""
    y, x = np.mgrid[:GRID, :GRID]
    distance = np.abs((x - 31.5) / 21.5) ** 3 + np.abs((y - 42) / 16) ** 3
    return np.clip((1.15 - distance) / 0.3, 0, 1).astype(np.float32)


def _shares(times: Float64) -> Array:
    """Return the weight of each pattern at given times in seconds: (T,) to (T, SLOTS), rows of norm 1."""
    place = times / SLOT
    first, part = np.floor(place).astype(np.int64), place % 1
    shares = np.zeros((len(times), SLOTS), np.float32)
    rows = np.arange(len(times))
    shares[rows, first % SLOTS] = np.cos(part * np.pi / 2)
    shares[rows, (first + 1) % SLOTS] = np.sin(part * np.pi / 2)
    return shares


def embed_watermark(crop: Image, time: float, key: int = WATERMARK_KEY) -> Image:
    """Embed the watermark into a face crop.

    Args:
        crop: uint8 (S, S, 3); all of it is marked, though only the generated region is pasted into the frame.
        time: Presentation time of the frame in seconds.
        key: Seed of the signs.
    """
    pattern = np.tensordot(_shares(np.array([time]))[0], _patterns(key), 1)
    fine = cv2.resize(pattern, crop.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    # The sum is rounded and stays in 0..255.
    watermarked: Image = cv2.add(crop, cv2.merge([AMPLITUDE * fine] * 3), dtype=cv2.CV_8U)
    return watermarked


@dataclass(frozen=True)
class WatermarkResult:
    """Result of the detector.

    Attributes:
        found: Whether the video carries the watermark.
        score: The largest sum in units of its standard deviation; 0 where there was nothing to look at.
        threshold: Least score of a watermark; higher for longer videos, which have more sums to look at.
        ranges: Start and end in seconds of the pieces that carry the watermark.
    """

    found: bool = False
    score: float = 0.0
    threshold: float = float("inf")
    ranges: list[list[float]] = field(default_factory=list)


def threshold(sums: int, false_alarms: float = FALSE_ALARMS) -> float:
    """Return the score that the largest of a number of sums exceeds by chance with at most the given probability."""
    return float(np.sqrt(2 * np.log(sums / false_alarms)))


@dataclass(frozen=True)
class _Piece:
    """One piece of the video: start and end in seconds, sums of the phases (STEPS, SLOTS), variances (STEPS, 1)."""

    start: float
    end: float
    sums: Float64
    variance: Float64


class WatermarkDetector:
    """Looks for the watermark in the face crops of a video, which are added in order.

    It keeps a few seconds of them, shrunk to the grid.

    Args:
        key: Seed of the signs.
    """

    def __init__(self, key: int = WATERMARK_KEY) -> None:
        self._key = key
        self._times: list[float] = []
        self._small: list[Array] = []
        self._pieces: list[_Piece] = []

    def add(self, time: float, crop: Image) -> None:
        """Add the next crop, uint8 (S, S, 3), and its presentation time in seconds."""
        # A rest of less than half a piece belongs to the piece before it.
        if self._times and time - self._times[0] >= 1.5 * STRETCH_SECONDS:
            self._close(int(np.searchsorted(self._times, self._times[0] + STRETCH_SECONDS)))
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
        self._times.append(time)
        self._small.append(cv2.resize(grey, (GRID, GRID), interpolation=cv2.INTER_AREA))

    def result(self) -> WatermarkResult:
        """Return the result over all crops; no more can be added."""
        self._close(len(self._times))
        pieces = self._pieces
        if not pieces:
            return WatermarkResult()
        sums, variance = sum(p.sums for p in pieces), sum(p.variance for p in pieces)
        whole = np.asarray(sums / np.sqrt(variance))
        single = [p.sums / np.sqrt(p.variance) for p in pieces]
        candidates = [whole, *single] if len(pieces) > 1 else [whole]
        limit = threshold(len(candidates) * whole.size)
        score = max(float(c.max()) for c in candidates)
        if score <= limit:
            return WatermarkResult(False, score, limit)
        phase = np.unravel_index(int(whole.argmax()), whole.shape) if whole.max() > limit else None
        marked = [
            [p.start, p.end]
            for p, own in zip(pieces, single, strict=True)
            if own.max() > limit or (phase is not None and own[phase] > threshold(1))
        ]
        return WatermarkResult(True, score, limit, _merged(marked or [[pieces[0].start, pieces[-1].end]]))

    def _close(self, count: int) -> None:
        """Evaluate the first `count` of the waiting crops as one piece, and forget them."""
        if count >= FEWEST_FRAMES:
            times, small = np.array(self._times[:count]), np.stack(self._small[:count])
            sums, variance = _correlate(times, _flattened(times, small), _signs(self._key))
            if (variance > 0).all():
                step = (times[-1] - times[0]) / (count - 1)
                self._pieces.append(_Piece(float(times[0]), float(times[-1] + step), sums, variance))
        del self._times[:count], self._small[:count]


def _merged(ranges: list[list[float]]) -> list[list[float]]:
    """Join ranges that follow each other within a slot."""
    joined: list[list[float]] = []
    for start, end in ranges:
        if joined and start - joined[-1][1] < SLOT:
            joined[-1][1] = end
        else:
            joined.append([start, end])
    return joined


def _flattened(times: Float64, small: Array) -> Array:
    """Return the changes over time in the pattern's band, limited where cells change much: (T, GRID, GRID) to same.

    Nothing here depends on the signs, so the bound on false alarms holds.
    """
    coefficients = np.stack([cv2.dct(s) for s in small])
    coefficients[:, ~_band()] = 0
    near = np.exp(-0.5 * ((times[:, None] - times) / SMOOTHING) ** 2)
    high_pass = (np.eye(len(times)) - near / near.sum(axis=1, keepdims=True)).astype(np.float32)
    changes = np.tensordot(high_pass, np.stack([cv2.idct(c) for c in coefficients]), 1)
    # 1.48 times the median deviation is the standard deviation of normal noise, whatever the mouth does at times.
    spread = (1.48 * np.median(np.abs(changes), axis=0)) ** 2
    noise = np.sqrt(cv2.GaussianBlur(spread.astype(np.float32), (0, 0), 1.5) + NOISE_FLOOR**2)
    limited = np.clip(changes / noise, -1, 1) / noise
    # The watermark passed the high-pass too: to match the plain signs, the changes pass it a second time.
    return (np.tensordot(high_pass.T, limited, 1) * _window()).astype(np.float32)


def _correlate(times: Float64, changes: Array, signs: Array) -> tuple[Float64, Float64]:
    """Return sums for all phases, (STEPS, SLOTS), and their variances over random signs, (STEPS, 1)."""
    radius = np.hypot(*np.nonzero(_band()))
    slots = np.arange(SLOTS)
    sums, variance = np.zeros((STEPS, SLOTS)), np.zeros((STEPS, 1))
    for step in range(STEPS):
        shown = np.tensordot(_shares(times + step * SLOT / STEPS).T, changes, 1)
        values = np.stack([cv2.dct(s) for s in shown])[:, _band()]
        # Faces change more in coarse waves than in fine ones; as noise, each counts by its inverse variance.
        power = np.polyfit(radius, np.log((values**2).mean(axis=0) + 1e-12), 2)
        values = values / np.exp(np.polyval(power, radius)).astype(np.float32)
        products = values @ signs.T
        sums[step] = [products[slots, (slots + shift) % SLOTS].sum() for shift in slots]
        variance[step] = (values.astype(np.float64) ** 2).sum()
    return sums, variance
