"""Compiled functions are compiled when they are first called, and without SciPy."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

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
