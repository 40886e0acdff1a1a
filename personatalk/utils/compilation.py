"""Compiled functions, kept on the disk between runs where there is a place for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function with Numba.

    The machine code is kept beside the package or in the user's cache folder, so that only the first run compiles;
    where neither can be written, as for a service without a home, every run does. Other threads run meanwhile, so
    that frames can be rendered side by side.

    Args:
        **options: Further options of `numba.njit`.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:  # no folder for the cache
            return numba.njit(nogil=True, **options)(function)

    return decorate
