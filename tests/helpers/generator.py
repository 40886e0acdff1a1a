"""Sizes of a small geometry generator."""

from __future__ import annotations

from typing import Any

SMALLER: dict[str, Any] = {"kind": "whisper", "width": 32, "heads": 2, "layers": 0}
