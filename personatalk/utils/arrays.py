"""Array types that the whole package shares, and helpers for series and flags."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
# uint8 (H, W, 3), RGB unless said otherwise.
Image = npt.NDArray[np.uint8]


def runs(flags: npt.NDArray[np.bool_], breaks: npt.NDArray[np.bool_] | None = None) -> list[tuple[int, int]]:
    """Return the runs of true flags (N,) as (start, stop); a run also ends before every index with a break (N,)."""
    found, start = [], -1
    for i, flag in enumerate(flags):
        broken = breaks is not None and bool(breaks[i])
        if start >= 0 and (broken or not flag):
            found.append((start, i))
            start = -1
        if flag and start < 0:
            start = i
    return [*found, (start, len(flags))] if start >= 0 else found


def resampled(series: Array, times: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> Array:
    """Interpolate a series (T, C), known at rising times (T,), linearly at the wanted times (N,): (N, C)."""
    return np.stack([np.interp(wanted, times, column) for column in series.T], axis=1).astype(np.float32)
