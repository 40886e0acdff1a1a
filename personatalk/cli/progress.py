"""Progress on the terminal."""

from __future__ import annotations

from tqdm import tqdm

from ..utils.interrupt import Interrupt


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
