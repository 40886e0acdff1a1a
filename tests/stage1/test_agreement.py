"""Offset between audio and video."""

from __future__ import annotations

import numpy as np
import pytest

from personatalk.stage1 import agreement


@pytest.mark.parametrize("lag", [-4, 0, 3])
def test_the_lag_is_found(lag: int) -> None:
    random = np.random.default_rng(0)
    motion = np.convolve(random.standard_normal(120), np.ones(4) / 4, mode="same")
    got, real = motion[10:90], 2 * motion[10 - lag : 90 - lag]  # real[t + lag] = got[t]
    found = agreement.compare_openings(got, real)
    assert found.lag == lag
    assert found.best == pytest.approx(1)
    assert found.articulation == pytest.approx(0.5, abs=0.1)
    assert (found.unshifted == pytest.approx(1)) == (lag == 0)


def test_agreement_is_pooled_by_frames() -> None:
    a, b = np.zeros(15), np.zeros(15)
    a[3], b[9] = 0.9, 0.8
    whole = agreement.pooled([agreement.Agreement(a, 1.0, 10), agreement.Agreement(b, 0.5, 90)])
    assert (whole.lag, whole.frames) == (2, 100)
    assert whole.articulation == pytest.approx(0.55)


def test_a_still_mouth_correlates_with_nothing() -> None:
    moving = np.random.default_rng(0).random(50)
    assert (agreement.correlations(np.zeros(50), moving) == 0).all()
    assert (agreement.correlations(moving, np.zeros(50)) == 0).all()
    assert (agreement.correlations(moving[:20], moving[:20]) == 0).all()
    assert agreement.correlations(moving, moving)[7] == pytest.approx(1)


@pytest.mark.parametrize(("frames", "found"), [(60, 0), (400, 4)])
def test_a_short_recording_is_not_shifted_on_chance(frames: int, found: int) -> None:
    r = np.full(15, 0.1)
    r[7], r[11] = 0.3, 0.6
    assert agreement.Agreement(r, 1.0, frames).convincing_lag == found
    edge = np.roll(r, 3)
    assert agreement.Agreement(edge, 1.0, 400).lag == 7
    assert agreement.Agreement(edge, 1.0, 400).convincing_lag == 0
