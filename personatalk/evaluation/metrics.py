"""The metrics, as pure functions of pictures and landmarks; docs/evaluation.md has the formulas and their sources.

Landmarks are MediaPipe's, in pixels, (T, 478, 2) or (T, 478, 3), NaN where a frame has no face. Pictures are uint8
(H, W, 3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from ..utils.arrays import Array, Image

Series = npt.NDArray[np.float64]
Scalar = TypeVar("Scalar", bound=np.generic)

LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
)
"""Outer and inner outline of the lips."""
RIGID = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 127, 356, 10, 151)
"""Points that hardly move with speech: eyes, nose, forehead, temples."""
UPPER, LOWER = 13, 14
"""Middles of the inner lips."""
LEFT_EYE, RIGHT_EYE = 33, 263
"""Outer corners of the eyes."""
LARGEST_LAG = 8
"""Frames searched for the lag between two videos."""
FEWEST = 10
"""Frames with a face that a lip metric needs."""


def nearest(wanted: Series, times: Series) -> npt.NDArray[np.int64]:
    """Frame shown at each of the wanted times, by the nearest time; -1 where none is nearer than a frame.

    Args:
        wanted: Seconds, (N,).
        times: Seconds of the frames, rising, (T,).
    """
    step = max(float(np.median(np.diff(x))) if len(x) > 1 else 0.04 for x in (wanted, times))
    right = np.searchsorted(times, wanted).clip(1, max(1, len(times) - 1))
    found = np.where(np.abs(wanted - times[right - 1]) <= np.abs(wanted - times[right % len(times)]), right - 1, right)
    found = np.minimum(found, len(times) - 1)
    return np.where(np.abs(times[found] - wanted) <= step, found, -1).astype(np.int64)


def eye_distance(marks: Array) -> Series:
    """Distance between the outer corners of the eyes in pixels, (T,)."""
    return np.linalg.norm(marks[:, LEFT_EYE, :2] - marks[:, RIGHT_EYE, :2], axis=-1).astype(np.float64)


def opening(marks: Array) -> Series:
    """Mouth opening over the eye distance, (T,)."""
    return np.linalg.norm(marks[:, UPPER, :2] - marks[:, LOWER, :2], axis=-1) / eye_distance(marks)


def correlation(real: Series, made: Series, lag: int = 0) -> float:
    """Correlation of made[t + lag] with real[t], over frames where both are known.

    NaN where these are too few, and 0 where one of the mouths does not move.
    """
    a, b = shifted(real, made, lag)
    known = ~np.isnan(a) & ~np.isnan(b)
    if known.sum() < FEWEST:
        return float("nan")
    if np.ptp(a[known]) < 1e-6 or np.ptp(b[known]) < 1e-6:
        return 0.0
    return float(np.corrcoef(a[known], b[known])[0, 1])


def best_lag(real: Series, made: Series, gain: float = 0.05) -> int:
    """Frames by which the made mouth runs late: where the openings agree best.

    A lag counts only if it explains clearly more than none does.
    """
    found = {lag: correlation(real, made, lag) for lag in range(-LARGEST_LAG, LARGEST_LAG + 1)}
    found = {lag: -1.0 if np.isnan(r) else r for lag, r in found.items()}
    best = max(found, key=lambda lag: found[lag] + (1e-3 if lag == 0 else 0))
    return best if found[best] - found[0] >= gain else 0


def shifted(
    real: npt.NDArray[Scalar], made: npt.NDArray[Scalar], lag: int
) -> tuple[npt.NDArray[Scalar], npt.NDArray[Scalar]]:
    """Two series with the lag undone, cut to the frames that both have."""
    a, b = real[max(0, -lag) :], made[max(0, lag) :]
    count = min(len(a), len(b))
    return a[:count], b[:count]


def lips_in(frame: Array, reference: Array) -> Array:
    """Lips of one face, moved by the similarity that lays its rigid points on another's: (40, 2)."""
    matrix, _ = cv2.estimateAffinePartial2D(frame[list(RIGID), :2], reference[list(RIGID), :2], method=cv2.LMEDS)
    if matrix is None:
        return np.full((len(LIPS), 2), np.nan, np.float32)
    moved: Array = frame[list(LIPS), :2] @ matrix[:, :2].T + matrix[:, 2]
    return moved


def aligned_lips(real: Array, made: Array) -> tuple[Array, Array, Series]:
    """Lips of both videos in the real face's frame, (N, 40, 2) each, and its eye distance, where both have a face."""
    known = ~np.isnan(real[:, 0, 0]) & ~np.isnan(made[:, 0, 0])
    if known.sum() < FEWEST:
        raise ValueError("too few frames in which both videos show a face")
    real, made = real[known], made[known]
    # The real lips go through the same fit, whose residual is then the same in both.
    theirs = np.stack([lips_in(r, r) for r in real])
    ours = np.stack([lips_in(m, r) for m, r in zip(made, real, strict=True)])
    return theirs, ours, eye_distance(real)


def lip_distance(theirs: Array, ours: Array, eyes: Series) -> Series:
    """LMD of each frame: mean distance of the lip landmarks, in per cent of the eye distance, (N,)."""
    return 100 * np.linalg.norm(ours - theirs, axis=-1).mean(axis=-1) / eyes


def jitter(lips: Array) -> float:
    """Mean absolute second difference over time of lip landmarks (N, 40, 2)."""
    return float(np.abs(np.diff(lips, 2, axis=0)).mean())


CLOSING = ("B", "M", "P")
OPEN_VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "EY", "OW")


def phone_gaps(
    openings: Series, times: Series, phones: list[tuple[float, float, str]]
) -> list[tuple[str, bool, float]]:
    """Gap between the lips at each phone that closes or opens them.

    Args:
        openings: Mouth opening of each frame, (T,).
        times: Its time in seconds, (T,).
        phones: Start, end and name of each phone.

    Returns:
        Name, whether it closes the lips, and gap. Within a phone, widened by half a frame as a stop closes before its
        burst, the smallest gap of a closing one and the largest of a vowel count; NaN where there is no frame.
    """
    found = []
    for start, end, name in phones:
        if name not in (*CLOSING, *OPEN_VOWELS):
            continue
        inside = openings[(times >= start - 0.02) & (times <= end + 0.02) & ~np.isnan(openings)]
        extreme = np.min if name in CLOSING else np.max
        found.append((name, name in CLOSING, float(extreme(inside)) if len(inside) else float("nan")))
    return found


def closure(openings: Series, times: Series, phones: list[tuple[float, float, str]]) -> tuple[float, int]:
    """Gap between the lips at B, M and P over that at open vowels, and the number of the former.

    Arguments as of `phone_gaps`. The ratio is NaN where a kind of phone is missing.
    """
    known = [(closing, gap) for _, closing, gap in phone_gaps(openings, times, phones) if not np.isnan(gap)]
    shut, wide = ([gap for closing, gap in known if closing == kind] for kind in (True, False))
    return float(np.mean(shut) / np.mean(wide)) if shut and wide else float("nan"), len(shut)


def psnr(real: Image, made: Image, where: npt.NDArray[np.bool_] | None = None) -> float:
    """Peak signal-to-noise ratio in dB, at most 90; of the pixels `where` (H, W) is true."""
    error = (real.astype(np.float32) - made) ** 2
    mean = float(error.mean() if where is None else error[where].mean())
    return float(-10 * np.log10(max(1e-9, mean / 65025)))


def ssim(real: Image, made: Image) -> float:
    """Structural similarity (Wang et al. 2004), the mean over the channels, window of 7 x 7."""
    x, y = real.astype(np.float64), made.astype(np.float64)
    size, edge = 7, 3
    scale = size**2 / (size**2 - 1)

    def mean(z: Series) -> Series:
        blurred: Series = cv2.blur(z, (size, size))
        return blurred[edge:-edge, edge:-edge]

    mx, my = mean(x), mean(y)
    vx, vy, vxy = (scale * (mean(a * b) - ma * mb) for a, b, ma, mb in ((x, x, mx, mx), (y, y, my, my), (x, y, mx, my)))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mx * my + c1) * (2 * vxy + c2)
    return float((top / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())


def frechet(a: Array, b: Array) -> float:
    """Fréchet distance of the Gaussians of two sets of vectors (N, D) (Heusel et al. 2017).

    It is FID on Inception's features and FVD on a video network's. NaN where a set has fewer than two.
    """
    if len(a) < 2 or len(b) < 2:
        return float("nan")
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    difference = x.mean(axis=0) - y.mean(axis=0)
    left, right = (np.atleast_2d(np.cov(z.T)) for z in (x, y))
    # The trace of (AB)^(1/2) is that of (A^(1/2) B A^(1/2))^(1/2), which is symmetric.
    values, vectors = np.linalg.eigh(left)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ right @ root).clip(0)).sum()
    return float(max(0.0, difference @ difference + np.trace(left) + np.trace(right) - 2 * cross))


def cosine(a: Array, b: Array) -> float:
    """Cosine of two vectors."""
    return float(a @ b) / max(1e-12, float(np.linalg.norm(a) * np.linalg.norm(b)))


def bootstrap(
    values: npt.ArrayLike,
    statistic: Callable[[Series], float] = np.mean,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a statistic over clips (Efron 1979); NaNs are left out.

    Args:
        values: One value for each clip.
        statistic: Of a sample.
        draws: Samples drawn with replacement.
        level: Share of them inside the interval.
        seed: Of the draws.
    """
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    if len(known) < 2:
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    found = [statistic(known[random.integers(len(known), size=len(known))]) for _ in range(draws)]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
