"""Ridge regression over recordings."""

from __future__ import annotations

import numpy as np
import pytest

from personatalk.training.ridge import RidgeRegression


def recordings(noise: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two recordings of one linear map, each with a mean of its own."""
    random = np.random.default_rng(0)
    weights = np.arange(6, dtype=np.float32).reshape(3, 2)
    found = []
    for mean in (-40, 40):
        x = random.standard_normal((200, 3)).astype(np.float32)
        y = x @ weights + mean + noise * random.standard_normal((200, 2))
        found.append((x + mean, y.astype(np.float32)))
    return found


def test_a_linear_map_is_found_about_the_means_of_each_recording() -> None:
    ridge = RidgeRegression(0.0)
    for x, y in recordings(0.01):
        ridge.add(x, y, 1.0)
    np.testing.assert_allclose(ridge.solve(), np.arange(6).reshape(3, 2), atol=0.01)


def test_the_ridge_shrinks_and_the_scale_comes_back() -> None:
    plain, damped = RidgeRegression(0.0), RidgeRegression(1.0)
    for x, y in recordings(0.0):
        plain.add(x, y / 4, 4.0)
        damped.add(x, y / 4, 4.0)
    np.testing.assert_allclose(plain.solve(), np.arange(6).reshape(3, 2), atol=0.01)
    assert 0.4 < np.linalg.norm(damped.solve()) / np.linalg.norm(plain.solve()) < 0.6


def test_without_recordings_there_is_no_map() -> None:
    with pytest.raises(ValueError, match="no recording"):
        RidgeRegression(1.0).solve()
