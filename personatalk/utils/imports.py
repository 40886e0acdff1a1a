"""Imports that leave out what nobody here needs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def hidden(package: str) -> Iterator[None]:
    """Let imports in the block find that a package is not installed, unless it is loaded already.

    Other threads find the same meanwhile.
    """
    silenced = sys.modules.setdefault(package, None) is None  # type: ignore[arg-type]
    try:
        yield
    finally:
        if silenced:
            del sys.modules[package]
