"""Correlation, and the lag between two series."""

from __future__ import annotations

import numpy as np
import pytest

from personatalk.utils.correlation import correlation, lag_correlations, without_lag


def smooth(count: int = 80) -> np.ndarray:
    return np.convolve(np.random.default_rng(0).standard_normal(count + 4), np.ones(5) / 5, "valid")


@pytest.mark.parametrize("same_frames", [False, True])
@pytest.mark.parametrize("lag", [-3, 0, 5])
def test_the_best_correlation_is_at_the_lag(lag: int, same_frames: bool) -> None:
    series = smooth()
    found = lag_correlations(series, np.roll(series, lag), 7, 10, same_frames)
    assert found.shape == (15,)
    assert int(found.argmax()) - 7 == lag and found.max() == pytest.approx(1)


def test_a_lag_is_undone() -> None:
    series = np.arange(10)
    for lag in (-2, 0, 3):
        early, late = without_lag(series, series + lag, lag)
        assert len(early) == 10 - abs(lag)
        np.testing.assert_array_equal(early, late - 2 * lag)


def test_unknown_still_and_short_series_have_no_correlation() -> None:
    series = smooth()
    holes = series.copy()
    holes[::3] = np.nan
    assert correlation(series, holes, 10) == pytest.approx(1)
    assert correlation(series, np.ones_like(series), 10) == 0
    assert np.isnan(correlation(series[:5], series[:5], 10))
    assert np.isnan(lag_correlations(series[:20], series[:20], 7, 12, same_frames=True)).all()
