"""Sizes of a small geometry generator."""

from __future__ import annotations

from typing import Any

from personatalk.audio.encoder import SMALL_HUBERT

SMALLER: dict[str, Any] = {**SMALL_HUBERT, "num_hidden_layers": 2}
