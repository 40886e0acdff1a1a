"""Progress of long work, told to a function."""

from __future__ import annotations

from collections.abc import Callable

# Called with a stage's name, the steps done since the last call, and their total (0: unknown).
Progress = Callable[[str, int, int], None]


def no_progress(stage: str, steps: int, total: int) -> None:
    """Ignore the progress."""
