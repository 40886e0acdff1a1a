"""The optimisation of the fit, held against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, rosen, rosen_der

from personatalk.geometry.lbfgs import ITERATIONS, Numbers, minimise


def test_the_least_of_a_parabola_is_found() -> None:
    rng = np.random.default_rng(0)
    root = rng.standard_normal((20, 20))
    matrix, aim = root @ root.T + np.eye(20), rng.standard_normal(20)

    def parabola(place: Numbers) -> tuple[float, Numbers]:
        slope = matrix @ (place - aim)
        return float(slope @ (place - aim)) / 2, slope

    np.testing.assert_allclose(minimise(parabola, np.zeros(20)), aim, atol=1e-3)


@pytest.mark.parametrize("count", [2, 6, 20])
def test_a_curved_valley_is_followed_as_far_as_scipy_does(count: int) -> None:
    start = np.full(count, -1.0)
    theirs = minimize(rosen, start, jac=rosen_der, method="L-BFGS-B", options={"maxiter": ITERATIONS, "maxcor": 12})
    found = minimise(lambda place: (float(rosen(place)), rosen_der(place)), start)
    assert rosen(found) < max(2 * theirs.fun, 1e-6)


def test_where_nothing_is_lower_the_start_stays() -> None:
    start = np.array([1.0, 2.0])
    np.testing.assert_array_equal(minimise(lambda place: (0.0, np.zeros(2)), start), start)
    np.testing.assert_array_equal(minimise(lambda place: (np.nan, np.full(2, np.nan)), start), start)


def test_a_wall_is_not_crossed() -> None:
    """Where the function is no number, the step is too long."""

    def walled(place: Numbers) -> tuple[float, Numbers]:
        with np.errstate(invalid="ignore"):
            value = float(place[0] - np.log(place[0]))
        return value, 1 - 1 / place

    np.testing.assert_allclose(minimise(walled, np.array([20.0])), [1.0], atol=1e-4)
