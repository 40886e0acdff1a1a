"""Compiled functions: when they are compiled, without what, and with and without a place for their cache."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numba
import pytest

from personatalk.utils.compilation import compiled
from personatalk.utils.imports import hidden

COMPILED = """
import sys
from personatalk.geometry import rasterizer
from personatalk.stage2 import sparse_attention
assert "numba" not in sys.modules
rasterizer.warm_up()
sparse_attention.warm_up()
import numba
assert isinstance(rasterizer._fill, numba.core.dispatcher.Dispatcher), rasterizer._fill
assert isinstance(sparse_attention._flat, numba.core.dispatcher.Dispatcher), sparse_attention._flat
assert not [name for name in sys.modules if name.split(".")[0] == "scipy"]
import scipy.linalg
"""


@pytest.mark.slow
def test_numba_is_loaded_at_the_first_call_and_takes_no_scipy_along() -> None:
    subprocess.run([sys.executable, "-c", COMPILED], check=True)


def test_a_hidden_package_is_back_afterwards() -> None:
    sys.modules.pop("colorsys", None)
    with hidden("colorsys"), pytest.raises(ImportError):
        importlib.import_module("colorsys")
    found = importlib.import_module("colorsys")
    with hidden("colorsys"):
        assert importlib.import_module("colorsys") is found


def nowhere() -> object:
    """A function whose file lies where nothing can be written."""
    names: dict[str, object] = {}
    exec(compile("def double(x):\n    return 2 * x\n", "/proc/nowhere/module.py", "exec"), names)
    return names["double"]


def test_a_function_runs_where_its_machine_code_cannot_be_kept() -> None:
    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit(cache=True)(nowhere())
    assert compiled()(nowhere())(21) == 42
