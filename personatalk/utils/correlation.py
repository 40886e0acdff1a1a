"""Correlation of two series, and the lag between them."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

# A series with a smaller range than this does not move.
STILL = 1e-6

Scalar = TypeVar("Scalar", bound=np.generic)


def correlation(a: npt.NDArray[Any], b: npt.NDArray[Any], fewest: int = 2) -> float:
    """Return the correlation of two series (T,) over the values that both know.

    Args:
        a: A series; NaN where unknown.
        b: The other one.
        fewest: Values that it needs.

    Returns:
        NaN where there are too few values, and 0 where one of the series does not move.
    """
    known = ~np.isnan(a) & ~np.isnan(b)
    if known.sum() < fewest:
        return float("nan")
    if np.ptp(a[known]) < STILL or np.ptp(b[known]) < STILL:
        return 0.0
    return float(np.corrcoef(a[known], b[known])[0, 1])


def without_lag(
    series: npt.NDArray[Scalar], late: npt.NDArray[Scalar], lag: int
) -> tuple[npt.NDArray[Scalar], npt.NDArray[Scalar]]:
    """Return two series with a lag undone, late[t + lag] beside series[t], cut to the frames that both have."""
    a, b = series[max(0, -lag) :], late[max(0, lag) :]
    count = min(len(a), len(b))
    return a[:count], b[:count]


def lag_correlations(
    series: npt.NDArray[Any], late: npt.NDArray[Any], largest: int, fewest: int, same_frames: bool = False
) -> npt.NDArray[np.float64]:
    """Return the correlation of series[t] with late[t + lag] for every lag.

    Args:
        series: A series, (T,); NaN where unknown.
        late: The series that may be late, (T',).
        largest: Largest lag in frames.
        fewest: Frames that a correlation needs.
        same_frames: Whether all lags are judged on the frames of `series` that all of them have, instead of each lag
            on all frames that it has.

    Returns:
        (2 * largest + 1,), from lag -largest to lag largest; NaN where there are too few frames.
    """
    found = []
    for lag in range(-largest, largest + 1):
        a, b = without_lag(series, late, lag)
        if same_frames:
            start = largest - max(0, -lag)
            count = max(0, len(series) - 2 * largest)
            a, b = a[start : start + count], b[start : start + count]
        found.append(correlation(a, b, fewest))
    return np.array(found)
