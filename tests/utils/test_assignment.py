"""Pairs of rows and columns, held against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from personatalk.utils.assignment import best_pairs


@pytest.mark.parametrize("rows", [0, 1, 2, 5, 9])
@pytest.mark.parametrize("columns", [0, 1, 3, 5, 12])
def test_the_sum_is_the_largest(rows: int, columns: int) -> None:
    rng = np.random.default_rng(rows * 100 + columns)
    for case in range(20):
        gain = rng.standard_normal((rows, columns)).astype(np.float32)
        if case % 2:
            gain = np.round(gain).clip(0)  # ties, and nothing to gain
        pairs = best_pairs(gain)
        assert len(pairs) == min(rows, columns)
        assert [row for row, _ in pairs] == sorted({row for row, _ in pairs})
        assert len({column for _, column in pairs}) == len(pairs)
        theirs = gain[linear_sum_assignment(gain, maximize=True)].sum()
        assert sum(gain[pair] for pair in pairs) == pytest.approx(theirs, abs=1e-5)
