"""The metrics, as pure functions of images and landmarks; docs/evaluation.md has the formulas and their sources.

Landmarks are MediaPipe's, in pixels, (T, 478, 2) or (T, 478, 3), NaN where a frame has no face. Images are uint8
(H, W, 3).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
from scipy import stats

from ..utils.arrays import Array, Image
from ..utils.correlation import correlation as correlate
from ..utils.correlation import lag_correlations, without_lag

Series = npt.NDArray[np.float64]

# Outer and inner outline of the lips.
LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
)
# Points that hardly move with speech: eyes, nose, forehead, temples.
RIGID = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 127, 356, 10, 151)
# Middles of the inner lips.
UPPER, LOWER = 13, 14
# Outer corners of the eyes.
LEFT_EYE, RIGHT_EYE = 33, 263
# Frames searched for the lag between two videos.
LARGEST_LAG = 8
# Frames with a face that a lip metric needs.
MIN_FACE_FRAMES = 10
# Quantiles of a reference's opening up to which its lips count as closed, and from which on as wide.
SHUT, WIDE = 0.15, 0.8
# Phones that close the lips, and vowels that open them, in ARPABET.
CLOSING = ("B", "M", "P")
OPEN_VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "EY", "OW")


def nearest(wanted: Series, times: Series) -> npt.NDArray[np.int64]:
    """Return the frame nearest to each of the wanted times, (N,); -1 where none is nearer than a frame.

    Args:
        wanted: Seconds, (N,).
        times: Seconds of the frames, rising, (T,).
    """
    step = max(float(np.median(np.diff(x))) if len(x) > 1 else 0.04 for x in (wanted, times))
    right = np.searchsorted(times, wanted).clip(1, max(1, len(times) - 1))
    found = np.where(np.abs(wanted - times[right - 1]) <= np.abs(wanted - times[right % len(times)]), right - 1, right)
    found = np.minimum(found, len(times) - 1)
    return np.where(np.abs(times[found] - wanted) <= step, found, -1).astype(np.int64)


def eye_distance(landmarks: Array) -> Series:
    """Return the distance between the outer corners of the eyes in pixels, (T,)."""
    return np.linalg.norm(landmarks[:, LEFT_EYE, :2] - landmarks[:, RIGHT_EYE, :2], axis=-1).astype(np.float64)


def opening(landmarks: Array) -> Series:
    """Return the mouth opening over the eye distance, (T,)."""
    return np.linalg.norm(landmarks[:, UPPER, :2] - landmarks[:, LOWER, :2], axis=-1) / eye_distance(landmarks)


def opening_correlation(reference: Series, generated: Series, lag: int = 0) -> float:
    """Return the correlation of generated[t + lag] with reference[t]; see `utils.correlation.correlation`."""
    return correlate(*without_lag(reference, generated, lag), MIN_FACE_FRAMES)


def best_lag(reference: Series, generated: Series, gain: float = 0.05) -> int:
    """Return the frames by which the generated mouth is late: the lag at which the openings agree best.

    Args:
        reference: Mouth opening of the reference, (T,).
        generated: That of the generated video, (T,).
        gain: Correlation that a lag must gain on none, to count.
    """
    found = lag_correlations(reference, generated, LARGEST_LAG, MIN_FACE_FRAMES)
    found = np.where(np.isnan(found), -1.0, found)
    preferred = found.copy()
    preferred[LARGEST_LAG] += 1e-3
    best = int(preferred.argmax())
    return best - LARGEST_LAG if found[best] - found[LARGEST_LAG] >= gain else 0


def lips_in(frame: Array, reference: Array) -> Array:
    """Return the lips of one face, moved by the similarity that lays its rigid points on another's: (40, 2)."""
    matrix, _ = cv2.estimateAffinePartial2D(frame[list(RIGID), :2], reference[list(RIGID), :2], method=cv2.LMEDS)
    if matrix is None:
        return np.full((len(LIPS), 2), np.nan, np.float32)
    moved: Array = frame[list(LIPS), :2] @ matrix[:, :2].T + matrix[:, 2]
    return moved


def aligned_lips(reference: Array, generated: Array) -> tuple[Array, Array, Series]:
    """Return the lips of both videos in the reference's face, and its eye distance, where both show a face.

    Args:
        reference: Landmarks of the reference, (T, 478, 2).
        generated: Landmarks of the generated video, (T, 478, 2).

    Returns:
        Lips of the reference and of the generated video, (N, 40, 2) each, and the eye distance in pixels, (N,).

    Raises:
        ValueError: Too few frames show both faces.
    """
    known = ~np.isnan(reference[:, 0, 0]) & ~np.isnan(generated[:, 0, 0])
    if known.sum() < MIN_FACE_FRAMES:
        raise ValueError("too few frames in which both videos show a face")
    reference, generated = reference[known], generated[known]
    # The reference's lips go through the same fit, whose residual is then the same in both.
    lips = np.stack([lips_in(face, face) for face in reference])
    generated_lips = np.stack([lips_in(*faces) for faces in zip(generated, reference, strict=True)])
    return lips, generated_lips, eye_distance(reference)


def lip_distance(reference: Array, generated: Array, eyes: Series) -> Series:
    """Return the LMD of each frame: mean distance of the lip landmarks, in per cent of the eye distance, (N,)."""
    return 100 * np.linalg.norm(generated - reference, axis=-1).mean(axis=-1) / eyes


def jitter(lips: Array) -> float:
    """Return the mean absolute second difference over time of lip landmarks (N, 40, 2)."""
    return float(np.abs(np.diff(lips, 2, axis=0)).mean())


def phone_gaps(
    openings: Series, times: Series, phones: list[tuple[float, float, str]]
) -> list[tuple[str, bool, float]]:
    """Return the gap between the lips at each phone that closes or opens them.

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
    """Return the gap between the lips at B, M and P over that at open vowels, and the number of the former.

    Arguments as of `phone_gaps`. The ratio is NaN where a kind of phone is missing.
    """
    known = [(closing, gap) for _, closing, gap in phone_gaps(openings, times, phones) if not np.isnan(gap)]
    shut, wide = ([gap for closing, gap in known if closing == kind] for kind in (True, False))
    return float(np.mean(shut) / np.mean(wide)) if shut and wide else float("nan"), len(shut)


def closure_seen(reference: Series, generated: Series) -> float | None:
    """Return the gap between the lips where the reference's are closed over that where they are wide.

    It needs no text, but a reference that says the same words.

    Args:
        reference: Mouth opening of the reference, (T,).
        generated: That of the generated video at the same times, (T,).

    Returns:
        The ratio of the means over the frames beyond the `SHUT` and the `WIDE` quantile of the reference; None where
        too few frames show both faces.
    """
    known = ~np.isnan(reference) & ~np.isnan(generated)
    real, made = reference[known], generated[known]
    if len(real) < MIN_FACE_FRAMES:
        return None
    shut, wide = np.quantile(real, (SHUT, WIDE))
    return float(made[real <= shut].mean() / max(float(made[real >= wide].mean()), 1e-9))


def psnr(reference: Image, generated: Image, where: npt.NDArray[np.bool_] | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB, at most 90, over all pixels or those in the mask `where` (H, W)."""
    error = (reference.astype(np.float32) - generated) ** 2
    mean = float(error.mean() if where is None else error[where].mean())
    return float(-10 * np.log10(max(1e-9, mean / 255**2)))


def ssim(reference: Image, generated: Image) -> float:
    """Return the structural similarity (Wang et al. 2004), the mean over the channels, window of 7 x 7."""
    x, y = reference.astype(np.float64), generated.astype(np.float64)
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
    """Return the Fréchet distance of the Gaussians of two sets of vectors (N, D) (Heusel et al. 2017).

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
    """Return the cosine of two vectors."""
    return float(a @ b) / max(1e-12, float(np.linalg.norm(a) * np.linalg.norm(b)))


def bootstrap(
    values: npt.ArrayLike,
    statistic: Callable[[Series], float] = np.mean,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile interval of a statistic over clips (Efron 1979); NaNs are left out.

    Args:
        values: One value for each clip.
        statistic: Function of a sample (N,).
        draws: Samples drawn with replacement.
        level: Share of them inside the interval.
        seed: Seed of the draws.
    """
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    if len(known) < 2:
        return float("nan"), float("nan")
    interval = stats.bootstrap(
        (known,),
        statistic,
        n_resamples=draws,
        confidence_level=level,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)
