"""Progress on the terminal's error stream: bars for people, lines of JSON for programs."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict

from tqdm import tqdm

from ..utils.interrupt import Interrupt
from ..utils.progress import Progress, ProgressClock, StageState
from .options import Group

# Least seconds between two lines of one stage.
LINE_SECONDS = 0.5


def add_progress(group: Group) -> None:
    """Add the option that chooses the form of the progress."""
    group.add_argument(
        "--progress",
        choices=("bars", "json"),
        default="bars",
        help="on the error stream: bars, or a JSON object a line; docs/exit-codes.md has both (default: bars)",
    )


@contextmanager
def open_progress(given: argparse.Namespace) -> Iterator[Progress]:
    """Yield what shows the progress of a command as its words ask for."""
    if given.progress == "json":
        yield ProgressLines(given.interrupt)
    else:
        with closing(ProgressBars(given.interrupt, given.quiet)) as bars:
            yield bars


class ProgressBars:
    """One progress bar per stage, on the terminal's error stream.

    Args:
        interrupt: Checked at every step.
        hidden: Show nothing.
    """

    def __init__(self, interrupt: Interrupt, hidden: bool = False) -> None:
        self.interrupt, self.hidden = interrupt, hidden
        self._stage = ""
        self._bar: tqdm[None] | None = None

    def __call__(self, stage: str, steps: int, total: int) -> None:
        """Move the bar of a stage on; a new stage closes the last one's."""
        self.interrupt.check()
        if stage != self._stage or self._bar is None:
            self.close()
            self._stage = stage
            self._bar = tqdm(total=total or None, desc=f"{stage:9s}", unit="frame", disable=self.hidden or None)
        self._bar.update(steps)

    def close(self) -> None:
        """End the last bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class ProgressLines:
    """Lines of JSON on the error stream: the first and the last state of each stage, and some between.

    Args:
        interrupt: Checked at every step.
    """

    def __init__(self, interrupt: Interrupt) -> None:
        self.interrupt = interrupt
        self._clock = ProgressClock()
        self._stage, self._written = "", -math.inf

    def __call__(self, stage: str, steps: int, total: int) -> None:
        """Write a line if it is time."""
        self.interrupt.check()
        state = self._clock.step(stage, steps, total)
        due = state.elapsed >= self._written + LINE_SECONDS
        if due or stage != self._stage or state.done == state.total:
            self._stage, self._written = stage, state.elapsed
            write_line(_rounded(state))


def write_line(content: dict[str, object]) -> None:
    """Write a JSON object as one line of the error stream."""
    print(json.dumps(content), file=sys.stderr, flush=True)


def _rounded(state: StageState) -> dict[str, object]:
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in asdict(state).items()}
