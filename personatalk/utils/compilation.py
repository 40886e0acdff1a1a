"""Compiled functions, kept on the disk between runs where there is a place for them."""

from __future__ import annotations

import functools
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from .imports import hidden

Function = Callable[..., Any]

# Functions that are not compiled yet, with their options, by the name of their module.
_waiting: dict[str, list[tuple[Function, dict[str, Any]]]] = defaultdict(list)
_lock = threading.Lock()


def compiled(**options: Any) -> Callable[[Function], Function]:
    """Return a decorator that compiles a function with Numba when it, or another one of its module, is first called.

    Numba takes as long to load as all else that a dub needs; so it can be loaded beside the networks. The machine code
    is kept beside the package or in the user's cache folder, so that only the first run compiles; where neither can be
    written, as for a service without a home, every run does. Other threads run meanwhile, so that frames can be
    rendered side by side.

    Args:
        **options: Further options of `numba.njit`.
    """

    def decorate(function: Function) -> Function:
        _waiting[function.__module__].append((function, options))

        @functools.wraps(function)
        def first(*arguments: Any) -> Any:
            _compile(function.__module__)
            return function.__globals__[function.__name__](*arguments)

        return first

    return decorate


def _compile(module: str) -> None:
    """Put compiled functions in the place of all that wait in a module, where they find each other."""
    with _lock:
        for function, options in _waiting.pop(module, []):
            function.__globals__[function.__name__] = _compiler(function, nogil=True, **options)


def _compiler(function: Function, **options: Any) -> Any:
    # Numba looks for the BLAS of SciPy, whose import takes longer than its own.
    with hidden("scipy"):
        import numba
        import numba.np.arraymath
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the cache
        return numba.njit(**options)(function)
