"""Imports that leave out what nobody here needs."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


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


def onnx_runtime() -> Any:
    """Import ONNX Runtime.

    Its wheels report their use to its makers, and keep a number of the machine in the user's cache folder, unless the
    environment says otherwise before the import.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
