"""Compiled functions with and without a place for their cache."""

from __future__ import annotations

import numba
import pytest

from personatalk.utils.compilation import compiled


def nowhere() -> object:
    """A function whose file lies where nothing can be written."""
    names: dict[str, object] = {}
    exec(compile("def double(x):\n    return 2 * x\n", "/proc/nowhere/module.py", "exec"), names)
    return names["double"]


def test_a_function_runs_where_its_machine_code_cannot_be_kept() -> None:
    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit(cache=True)(nowhere())
    assert compiled()(nowhere())(21) == 42
