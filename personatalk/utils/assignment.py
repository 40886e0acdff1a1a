"""The assignment problem: SciPy's solution of it takes longer to load than all faces of a video to be assigned."""

from __future__ import annotations

import numpy as np

from .arrays import Array


def best_pairs(gain: Array) -> list[tuple[int, int]]:
    """Pair rows and columns so that the sum of their gains is as large as can be, by the Hungarian method (Kuhn 1955).

    Args:
        gain: Finite numbers, (N, M).

    Returns:
        min(N, M) pairs of a row and a column, in order of the rows.
    """
    if gain.shape[0] > gain.shape[1]:
        return sorted((row, column) for column, row in best_pairs(gain.T))
    rows, columns = gain.shape
    # Row of each column; the last column is a place to begin from.
    row_of = np.full(columns + 1, -1)
    by_row, by_column = np.zeros(rows), np.zeros(columns + 1)
    for row in range(rows):
        row_of[-1], column = row, columns
        least, before = np.full(columns, np.inf), np.full(columns, columns)
        open_columns = np.ones(columns + 1, bool)
        # Widen the tree of alternating paths until it reaches a column that is free.
        while row_of[column] >= 0:
            open_columns[column] = False
            here = row_of[column]
            slack = -gain[here] - by_row[here] - by_column[:-1]
            nearer = open_columns[:-1] & (slack < least)
            least[nearer], before[nearer] = slack[nearer], column
            following = int(np.where(open_columns[:-1], least, np.inf).argmin())
            step = least[following]
            by_row[row_of[~open_columns]] += step
            by_column[~open_columns] -= step
            least[open_columns[:-1]] -= step
            column = following
        # Shift the pairs along the path.
        while column != columns:
            row_of[column], column = row_of[before[column]], before[column]
        row_of[-1] = -1
    return sorted((int(row), column) for column, row in enumerate(row_of[:-1]) if row >= 0)
