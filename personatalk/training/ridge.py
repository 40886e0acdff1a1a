"""Ridge regression over recordings that are added one by one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import linalg

from ..utils.arrays import Array


class RidgeRegression:
    """Linear map from inputs to outputs about the means of each recording, by Hoerl and Kennard 1970.

    Args:
        ridge: Added to the variance of every input, as a share of their mean.
    """

    def __init__(self, ridge: float) -> None:
        self.ridge, self._scales = ridge, list[float]()
        self._inputs: npt.NDArray[np.float32] | None = None
        self._outputs: npt.NDArray[np.float32] | None = None

    def add(self, inputs: Array, outputs: Array, scale: float) -> None:
        """Add a recording: inputs (T, N), outputs (T, M), and what the outputs were divided by."""
        x, y = (np.asarray(table - table.mean(axis=0), np.float32) for table in (inputs, outputs))
        if self._inputs is None or self._outputs is None:
            self._inputs, self._outputs = x.T @ x, x.T @ y
        else:
            self._inputs += x.T @ x
            self._outputs += x.T @ y
        self._scales.append(scale)

    def solve(self) -> Array:
        """Return the map, (N, M), to outputs times the mean of the recordings' scales.

        Raises:
            ValueError: Nothing was added.
        """
        if self._inputs is None or self._outputs is None:
            raise ValueError("no recording was added")
        damped = self._inputs.copy()
        damped[np.diag_indices(len(damped))] += self.ridge * np.trace(damped) / len(damped) + 1e-9
        factor = linalg.cho_factor(damped, overwrite_a=True)
        return np.asarray(np.mean(self._scales) * linalg.cho_solve(factor, self._outputs), np.float32)
