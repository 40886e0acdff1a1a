"""personatalk.utils.progress."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, the steps done since the last call, and their total (0: unknown)."""


def no_progress(stage: str, steps: int, total: int) -> None:
    """Tell nobody about the progress."""
