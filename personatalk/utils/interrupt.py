"""Signals that ask a process to end."""

from __future__ import annotations

from types import FrameType


class Interrupt:
    """Handler of the signals that ask the program to end.

    It raises at once, as Python does. Where the exception gets lost, because compiled code that had called back into
    Python ignores it, `check` raises it again.
    """

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal and raise KeyboardInterrupt."""
        self.asked = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal came."""
        if self.asked:
            raise KeyboardInterrupt
