"""Progress of long work, told to a function."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

# Called with a stage's name, the steps done since the last call, and their total (0: unknown).
Progress = Callable[[str, int, int], None]


def no_progress(stage: str, steps: int, total: int) -> None:
    """Ignore the progress."""


@dataclass(frozen=True)
class StageState:
    """How far a job is.

    Attributes:
        stage: Name of the stage that runs.
        done: Its steps so far.
        total: All its steps, None if unknown.
        elapsed: Seconds since the job began.
        time_left: Seconds that the stage still takes at its pace so far, None if unknown.
    """

    stage: str
    done: int
    total: int | None
    elapsed: float
    time_left: float | None


class ProgressClock:
    """Turns the calls of a `Progress` into the state of the stage that runs.

    Args:
        now: The clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._start = now, now()
        self._stage, self._done = "", 0
        self._first = 0.0, 0  # when the stage was first heard of, and its steps then: a resumed run has many

    def step(self, stage: str, steps: int, total: int) -> StageState:
        """Count steps and return the state after them; arguments as of `Progress`."""
        now = self._now()
        if stage != self._stage:
            self._stage, self._done, self._first = stage, 0, (now, steps)
        self._done += steps
        began, before = self._first
        left = None
        if total and self._done > before:
            left = (now - began) / (self._done - before) * max(0, total - self._done)
        return StageState(stage, self._done, total or None, now - self._start, left)
